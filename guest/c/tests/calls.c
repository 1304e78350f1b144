/* Makes the calls of the library, and checks the answers. Run it twice at one location, with a directory `/data`: the
 * second time resumes. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "task_checkpoint.h"

#define CHECK(condition)                                                                      \
    do {                                                                                      \
        if (!(condition)) {                                                                   \
            fprintf(stderr, "line %d: not %s; %s\n", __LINE__, #condition, ckpt_error());     \
            exit(1);                                                                          \
        }                                                                                     \
    } while (0)

static bool reads(const char *expected) {
    void *contents;
    size_t size;
    CHECK(!ckpt_read(&contents, &size));
    bool equal = contents && size == strlen(expected) && memcmp(contents, expected, size) == 0;
    free(contents);
    return equal;
}

static void put(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void a_fresh_attempt(void) {
    void *contents;
    size_t size;
    bool found = true;
    ckpt_resume_point point;
    ckpt_read_stream *reading;
    CHECK(!ckpt_read(&contents, &size) && !contents && !ckpt_given());
    CHECK(!ckpt_get_resume_point(&point) && !point.exists);
    CHECK(!ckpt_read_begin(&reading) && !reading);
    CHECK(!ckpt_restore("/data/nothing", CKPT_REFUSE, &found) && !found);
    CHECK(!ckpt_declare_schema("calls/1", CKPT_SCHEMA_REFUSE));
}

static void bytes_and_streams(void) {
    ckpt_annotation notes[] = {{"step", "1"}, {"loss", "0.5"}};
    ckpt_annotate(notes, 2);
    CHECK(!ckpt_write("one", 3) && reads("one"));
    CHECK(!ckpt_write("", 0) && reads(""));
    bool exists = false;
    CHECK(!ckpt_prev_exists(&exists) && exists);
    CHECK(!ckpt_write_in_background("two", 3) && !ckpt_flush() && reads("two"));

    ckpt_save_stream *saving, *second;
    static char piece[100000];
    CHECK(!ckpt_save_begin(&saving));
    CHECK(ckpt_save_begin(&second) == CKPT_QUOTA_EXCEEDED && !second);
    for (int i = 0; i < 30; i++) {
        memset(piece, i, sizeof piece);
        CHECK(!ckpt_save_write(saving, piece, sizeof piece));
    }
    CHECK(!ckpt_save_commit(saving));
    CHECK(!ckpt_save_begin(&saving) && !ckpt_save_write(saving, "lost", 4));
    ckpt_save_abort(saving);

    ckpt_read_stream *reading;
    size_t total = 0, size;
    CHECK(!ckpt_read_begin(&reading) && ckpt_read_size(reading) == 3000000 && ckpt_given());
    while (!ckpt_read_piece(reading, piece, sizeof piece, &size) && size > 0) {
        for (size_t i = 0; i < size; i++) CHECK(piece[i] == (char)((total + i) / sizeof piece));
        total += size;
    }
    CHECK(total == 3000000);
    ckpt_read_end(reading);
}

static void files(void) {
    bool found;
    CHECK(!mkdir("/data/tree", 0777) && !mkdir("/data/tree/deep", 0777));
    put("/data/tree/a", "a");
    put("/data/tree/deep/b", "b");
    CHECK(!ckpt_save("/data/tree"));
    void *contents;
    size_t size;
    CHECK(ckpt_read(&contents, &size) == CKPT_NOT_SINGLE && strstr(ckpt_error(), "2 files"));
    put("/data/tree/a", "changed");
    CHECK(ckpt_restore("data//./tree", CKPT_REFUSE, NULL) == CKPT_INVALID_PATH);
    CHECK(!ckpt_restore("/data/tree/", CKPT_REPLACE, &found) && found && ckpt_given()->sequence > 0);
    char text[8] = "";
    FILE *file = fopen("/data/tree/a", "r");
    CHECK(file && fread(text, 1, sizeof text, file) == 1 && text[0] == 'a' && fclose(file) == 0);
    CHECK(!ckpt_save_in_background("/data/tree/deep/b") && !ckpt_flush() && reads("b"));
    CHECK(ckpt_save("/data/missing") == CKPT_INVALID_PATH);
    CHECK(ckpt_save("/elsewhere") == CKPT_INVALID_PATH);
    CHECK(ckpt_save("/workshop") == CKPT_INVALID_PATH);
    CHECK(ckpt_save("/data/../tmp") == CKPT_INVALID_PATH);
    CHECK(ckpt_save("") == CKPT_INVALID_PATH);
}

int main(void) {
    bool exists;
    CHECK(!ckpt_prev_exists(&exists));
    if (!exists) {
        a_fresh_attempt();
        bytes_and_streams();
        files();
        CHECK(!ckpt_stopping(NULL));
        ckpt_save_due();
        CHECK(!ckpt_write("the end", 7));
        puts("c: every call works");
    } else {
        void *contents;
        size_t size;
        ckpt_resume_point point;
        CHECK(!ckpt_declare_schema("calls/2", CKPT_SCHEMA_REFUSE));
        CHECK(ckpt_read(&contents, &size) == CKPT_SCHEMA_MISMATCH);
        CHECK(!ckpt_declare_schema("calls/1", CKPT_SCHEMA_REFUSE));
        CHECK(!ckpt_get_resume_point(&point) && point.exists && !point.fell_back && point.checkpoint.attempt == 0);
        CHECK(reads("the end"));
        CHECK(ckpt_given() && ckpt_given()->sequence == point.checkpoint.sequence);
        puts("c: the second attempt resumes");
    }
}
