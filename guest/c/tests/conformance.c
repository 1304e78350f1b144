/* Performs the calls of the conformance suite: one command a line on stdin, one answer a line on stdout.
 * `guest/conformance/cases.txt` describes the commands. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "task_checkpoint.h"

enum { MAX_NOTES = 64, PIECE_BYTES = 65536 };

/* The annotations of the next save. Guests are short-lived, so they are not freed. */
static ckpt_annotation notes[MAX_NOTES];
static size_t note_count;
static ckpt_save_stream *saving;
static ckpt_read_stream *reading;

static const char *name(ckpt_status status) {
    switch (status) {
    case CKPT_OK: return "ok";
    case CKPT_FENCED: return "fenced";
    case CKPT_NOT_SINGLE: return "not-single";
    case CKPT_CORRUPT: return "corrupt";
    case CKPT_UNAVAILABLE: return "unavailable";
    case CKPT_QUOTA_EXCEEDED: return "quota-exceeded";
    case CKPT_INVALID_PATH: return "invalid-path";
    case CKPT_READ_ONLY: return "read-only";
    case CKPT_SCHEMA_MISMATCH: return "schema-mismatch";
    case CKPT_OTHER: return "other";
    }
    return "unknown";
}

/* Answers a call: what it says if it succeeds, or the name of the error. */
static void answer(ckpt_status status, const char *success) {
    if (status) {
        printf("error %s\n", name(status));
        fprintf(stderr, "%s\n", ckpt_error());
    } else {
        puts(success);
    }
}

static void describe(const unsigned char *bytes, size_t size) {
    if (size == 0) {
        puts("empty");
    } else if (size < 100) {
        printf("text %.*s\n", (int)size, (const char *)bytes);
    } else {
        uint32_t sum = 0;
        for (size_t at = 0; at < size; at++) {
            if (at % 4096 == 0) sum *= 31;
            sum += bytes[at];
        }
        printf("bytes %zu %" PRIu32 "\n", size, sum);
    }
}

/* Returns `SIZE` bytes that do not repeat, from the arguments `SEED SIZE`. */
static unsigned char *pattern(char *arguments, size_t *size) {
    uint32_t state = (uint32_t)strtoul(arguments, &arguments, 10);
    *size = strtoul(arguments, NULL, 10);
    unsigned char *bytes = malloc(*size + 4);
    if (!bytes) abort();
    for (size_t at = 0; at < *size; at += 4) {
        state = state * 1664525 + 1013904223;
        for (int byte = 0; byte < 4; byte++) bytes[at + byte] = (unsigned char)(state >> (8 * byte));
    }
    return bytes;
}

/* Hands the annotations to the library, for the save that follows. */
static void annotate(void) {
    ckpt_annotate(notes, note_count);
    note_count = 0;
}

static ckpt_status write_text(const char *text, ckpt_status (*call)(const void *, size_t)) {
    annotate();
    return call(text, strlen(text));
}

static ckpt_status write_pattern(char *arguments, ckpt_status (*call)(const void *, size_t)) {
    size_t size;
    unsigned char *bytes = pattern(arguments, &size);
    annotate();
    ckpt_status status = call(bytes, size);
    free(bytes);
    return status;
}

static void write_stream(const void *bytes, size_t size) {
    puts(!saving ? "not-open" : ckpt_save_write(saving, bytes, size) ? "error stream" : "ok");
}

static void restore(const char *path, ckpt_existing existing) {
    bool found;
    ckpt_status status = ckpt_restore(path, existing, &found);
    answer(status, !status && found ? "restored" : "none");
}

static void perform(char *command) {
    char *rest = strchr(command, ' ');
    if (rest) *rest++ = 0;
    else rest = command + strlen(command);
#define IS(text) (strcmp(command, text) == 0)
    if (IS("prev-exists")) {
        bool exists;
        ckpt_status status = ckpt_prev_exists(&exists);
        answer(status, !status && exists ? "true" : "false");
    } else if (IS("resume-point") || IS("resume-position")) {
        ckpt_resume_point point;
        ckpt_status status = ckpt_get_resume_point(&point);
        if (status || IS("resume-point")) {
            answer(status, !point.exists ? "fresh" : point.fell_back ? "fell-back" : "resumed");
        } else if (point.exists) {
            printf("position %" PRIu64 "\n", point.checkpoint.sequence);
        } else {
            puts("none");
        }
    } else if (IS("read") || IS("read-position") || IS("read-annotations") || IS("read-schema")) {
        void *contents;
        size_t size;
        ckpt_status status = ckpt_read(&contents, &size);
        if (status || !contents) {
            answer(status, "none");
        } else if (IS("read")) {
            describe(contents, size);
        } else if (IS("read-position")) {
            printf("position %" PRIu64 "\n", ckpt_given()->sequence);
        } else if (IS("read-annotations")) {
            printf("annotations");
            for (size_t note = 0; note < ckpt_given()->annotation_count; note++) {
                printf(" %s=%s", ckpt_given()->annotations[note].key, ckpt_given()->annotations[note].value);
            }
            puts("");
        } else if (ckpt_given()->schema) {
            printf("schema %s\n", ckpt_given()->schema);
        } else {
            puts("no-schema");
        }
        free(contents);
    } else if (IS("annotate")) {
        char *note = strdup(rest), *value = note ? strchr(note, ' ') : NULL;
        if (!value || note_count == MAX_NOTES) abort();
        *value++ = 0;
        notes[note_count++] = (ckpt_annotation){.key = note, .value = value};
        puts("ok");
    } else if (IS("write")) {
        answer(write_text(rest, ckpt_write), "saved");
    } else if (IS("write-pattern")) {
        answer(write_pattern(rest, ckpt_write), "saved");
    } else if (IS("write-in-background")) {
        answer(write_text(rest, ckpt_write_in_background), "ok");
    } else if (IS("write-pattern-in-background")) {
        answer(write_pattern(rest, ckpt_write_in_background), "ok");
    } else if (IS("save")) {
        annotate();
        answer(ckpt_save(rest), "saved");
    } else if (IS("save-in-background")) {
        annotate();
        answer(ckpt_save_in_background(rest), "ok");
    } else if (IS("flush")) {
        answer(ckpt_flush(), "ok");
    } else if (IS("restore")) {
        restore(rest, CKPT_REFUSE);
    } else if (IS("replace")) {
        restore(rest, CKPT_REPLACE);
    } else if (IS("declare-schema")) {
        char *change = strchr(rest, ' ');
        if (!change) abort();
        *change++ = 0;
        answer(ckpt_declare_schema(rest, strcmp(change, "start-fresh") == 0 ? CKPT_SCHEMA_START_FRESH
                                         : strcmp(change, "allow") == 0     ? CKPT_SCHEMA_ALLOW
                                                                            : CKPT_SCHEMA_REFUSE),
               "ok");
    } else if (IS("begin-save")) {
        ckpt_save_stream *stream;
        annotate();
        ckpt_status status = ckpt_save_begin(&stream);
        /* An open stream is not replaced if this fails. */
        if (!status) saving = stream;
        answer(status, "open");
    } else if (IS("stream")) {
        write_stream(rest, strlen(rest));
    } else if (IS("stream-pattern")) {
        size_t size;
        unsigned char *bytes = pattern(rest, &size);
        write_stream(bytes, size);
        free(bytes);
    } else if (IS("commit")) {
        if (saving) answer(ckpt_save_commit(saving), "saved");
        else puts("not-open");
        saving = NULL;
    } else if (IS("abort")) {
        ckpt_save_abort(saving);
        saving = NULL;
        puts("ok");
    } else if (IS("begin-read")) {
        ckpt_read_stream *stream;
        ckpt_status status = ckpt_read_begin(&stream);
        if (stream) reading = stream;
        answer(status, stream ? "open" : "none");
    } else if (IS("end-read")) {
        if (!reading) {
            puts("not-open");
            return;
        }
        unsigned char *bytes = NULL;
        size_t total = 0, size;
        ckpt_status status;
        do {
            bytes = realloc(bytes, total + PIECE_BYTES);
            if (!bytes) abort();
            status = ckpt_read_piece(reading, bytes + total, PIECE_BYTES, &size);
            total += size;
        } while (!status && size > 0);
        ckpt_read_end(reading);
        reading = NULL;
        if (status) puts("error stream");
        else describe(bytes, total);
        free(bytes);
    } else if (IS("save-due")) {
        puts(ckpt_save_due() ? "true" : "false");
    } else if (IS("advice")) {
        /* The header has no call that gives both. The one for stopping comes last, because it counts as one that told
         * the task. */
        bool due = ckpt_save_due(), stopping = ckpt_stopping(NULL);
        printf("now=%s stopping=%s\n", due ? "true" : "false", stopping ? "true" : "false");
    } else if (IS("limits") || IS("bytes-left")) {
        ckpt_limits limits;
        ckpt_status status = ckpt_get_limits(&limits);
        if (status) {
            answer(status, "");
        } else if (IS("bytes-left")) {
            printf("%" PRIu64 "\n", limits.bytes_left);
        } else {
            printf("limits %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu32 "\n", limits.checkpoint_bytes,
                   limits.entries, limits.path_bytes, limits.annotation_bytes, limits.saves_per_minute);
        }
    } else {
        printf("unknown command %s\n", command);
    }
#undef IS
}

int main(void) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    while ((length = getline(&line, &capacity, stdin)) > 0) {
        if (line[length - 1] == '\n') line[length - 1] = 0;
        perform(line);
        fflush(stdout);
    }
    free(line);
}
