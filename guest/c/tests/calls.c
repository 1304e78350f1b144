/* Checks what the library adds to the import; `guest/conformance` checks the rest. Run it twice at one location: the
 * second time resumes. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "task_checkpoint.h"

#define CHECK(condition)                                                                      \
    do {                                                                                      \
        if (!(condition)) {                                                                   \
            fprintf(stderr, "line %d: not %s; %s\n", __LINE__, #condition, ckpt_error());     \
            exit(1);                                                                          \
        }                                                                                     \
    } while (0)

static void put(const char *path) {
    FILE *file = fopen(path, "w");
    CHECK(file && fclose(file) == 0);
}

static void a_fresh_attempt(void) {
    void *contents;
    size_t size;
    ckpt_read_stream *reading;
    CHECK(!ckpt_read(&contents, &size) && !contents && !ckpt_given());
    CHECK(!ckpt_read_begin(&reading) && !reading && !ckpt_given());
    CHECK(!ckpt_restore("/data/nothing", CKPT_REFUSE, NULL) && !ckpt_given());

    CHECK(!ckpt_write("", 0) && !ckpt_read(&contents, &size) && contents && size == 0 && ckpt_given());
    free(contents);

    CHECK(!mkdir("/data/tree", 0777));
    put("/data/tree/a");
    put("/data/tree/b");
    CHECK(!ckpt_save("/data/tree"));
    CHECK(ckpt_read(&contents, &size) == CKPT_NOT_SINGLE && strstr(ckpt_error(), "2 files") && !ckpt_given());
    CHECK(!ckpt_restore("/data/tree", CKPT_REFUSE, NULL) && ckpt_given()->sequence > 0);
    CHECK(ckpt_save(NULL) == CKPT_INVALID_PATH);

    ckpt_save_stream *saving, *second;
    CHECK(!ckpt_save_begin(&saving));
    CHECK(ckpt_save_begin(&second) && !second);
    ckpt_save_abort(saving);
    ckpt_save_abort(NULL);
    ckpt_read_end(NULL);

    CHECK(!ckpt_write("the end", 7));
}

static void a_second_attempt(void) {
    void *contents;
    size_t size;
    ckpt_resume_point point;
    CHECK(!ckpt_get_resume_point(&point) && point.exists && point.checkpoint.attempt == 0);
    CHECK(!ckpt_read(&contents, &size) && ckpt_given()->sequence == point.checkpoint.sequence);
    free(contents);
}

int main(void) {
    bool exists;
    CHECK(!ckpt_prev_exists(&exists));
    if (exists) a_second_attempt();
    else a_fresh_attempt();
    puts(exists ? "c: the second attempt resumes" : "c: the library's own checks pass");
}
