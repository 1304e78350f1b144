//! The example host for plugins, with plugins that have no WASI. One works and the others misbehave.

#[path = "../host/wasmtime/examples/plugins/main.rs"]
mod host;

use std::fs;
use std::path::Path;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misbehaving_plugins_are_retried_and_do_not_disturb_others() {
    let temp = tempfile::tempdir().unwrap();
    let (plugins, state) = (temp.path().join("plugins"), temp.path().join("state"));
    fs::create_dir(&plugins).unwrap();
    for name in ["counts", "greedy", "hoards", "loops", "traps"] {
        fs::copy(
            Path::new(env!("PLUGIN")),
            plugins.join(name).with_extension("wasm"),
        )
        .unwrap();
    }
    fs::write(plugins.join("broken.wasm"), "no component").unwrap();

    let reports = host::run_all(&plugins, &state, host::TIME).await.unwrap();
    let names: Vec<_> = reports.iter().map(|report| report.name.as_str()).collect();
    assert_eq!(
        names,
        ["broken", "counts", "greedy", "hoards", "loops", "traps"]
    );
    let [broken, counts, greedy, misbehaved @ ..] = reports.as_slice() else {
        panic!("{reports:?}");
    };
    assert!(broken.result.is_err());
    assert!(counts.result.is_ok(), "{counts:?}");
    assert_eq!(greedy.result.as_deref(), Err(&"quota-exceeded".to_owned()));
    for plugin in misbehaved {
        assert!(plugin.attempts > 1, "{plugin:?}");
        let result = plugin.result.as_deref();
        assert_eq!(result, Ok("resumed from 500"), "{plugin:?}");
    }

    // Another run of the host finds every saved checkpoint.
    let again = host::run_all(&plugins, &state, host::TIME).await.unwrap();
    let counts = again.iter().find(|report| report.name == "counts");
    assert_eq!(counts.unwrap().result.as_deref(), Ok("resumed from 1000"));
}
