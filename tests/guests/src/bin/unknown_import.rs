//! Imports an interface that no host implements.

wit_bindgen::generate!({
    inline: "
        package test:absent;
        interface nothing {
            call: func();
        }
        world importer {
            import nothing;
        }
    ",
});

fn main() {
    test::absent::nothing::call();
}
