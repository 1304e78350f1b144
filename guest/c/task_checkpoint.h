/* Saves the progress of a WebAssembly task, so that its next attempt resumes from there.
 *
 *     #include "task_checkpoint.h"
 *
 *     int main(void) {
 *         long *saved, done = 0;
 *         size_t size;
 *         if (ckpt_read((void **)&saved, &size)) return 1;
 *         if (saved && size == sizeof done) done = *saved;
 *         free(saved);
 *         while (done < 1000) {
 *             done++; // a piece of work
 *             if (ckpt_write(&done, sizeof done)) return 1;
 *         }
 *     }
 *
 * A save is atomic and replaces the whole checkpoint. `ckpt_read` and `ckpt_restore` give this attempt's newest save, or,
 * if it has not saved yet, the newest checkpoint of the earlier attempts. Every byte is verified.
 *
 * Every function that returns a `ckpt_status` returns 0, which is CKPT_OK, if it succeeds. Else `ckpt_error` describes the
 * failure.
 */
#ifndef TASK_CHECKPOINT_H
#define TASK_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Why a call failed: one value for each way that a caller can react. */
typedef enum {
    CKPT_OK = 0,
    /* A newer attempt of this task has begun, so this attempt can save nothing more. Stop. */
    CKPT_FENCED,
    /* The checkpoint does not hold exactly one file. Use `ckpt_restore`. */
    CKPT_NOT_SINGLE,
    /* Every checkpoint that could be returned is damaged. Retrying does not help. */
    CKPT_CORRUPT,
    /* The storage cannot be reached or temporarily refuses requests. Retry later. A save may still take effect. */
    CKPT_UNAVAILABLE,
    /* A limit of the host is reached. Save less, or less often. */
    CKPT_QUOTA_EXCEEDED,
    /* The path is in no directory of the task, does not name what the call needs, or cannot be stored. */
    CKPT_INVALID_PATH,
    /* This task is not permitted to write to the target or to the storage. */
    CKPT_READ_ONLY,
    /* The checkpoint's schema is not the one that this task declared. */
    CKPT_SCHEMA_MISMATCH,
    CKPT_OTHER,
} ckpt_status;

/* Returns the description of the last failure. It is valid until the next call that fails. */
const char *ckpt_error(void);

/* Sets whether there is a checkpoint that `ckpt_read` or `ckpt_restore` would return. */
ckpt_status ckpt_prev_exists(bool *exists);

/* Sets the contents of the checkpoint's only file, which the caller frees with `free`, and their size. Sets NULL if there
 * is no checkpoint. A checkpoint without contents is not NULL, and is freed too. */
ckpt_status ckpt_read(void **contents, size_t *size);

/* A note for people and tools, such as a step or a loss. */
typedef struct {
    const char *key;
    const char *value;
} ckpt_annotation;

/* A committed checkpoint. */
typedef struct {
    /* Its position in the log. */
    uint64_t sequence;
    /* The number of the attempt that saved it. The first attempt is 0. */
    uint32_t attempt;
    /* The time since it was saved. */
    uint64_t age_milliseconds;
    /* What the task noted of it, sorted by key. */
    const ckpt_annotation *annotations;
    size_t annotation_count;
    /* Its schema. NULL if the task declared none. */
    const char *schema;
} ckpt_checkpoint;

/* Returns the checkpoint that `ckpt_read`, `ckpt_restore` or `ckpt_read_begin` gave last. It is valid until the next of
 * these calls. NULL if the last one gave none. */
const ckpt_checkpoint *ckpt_given(void);

/* Adds annotations to the next save of any kind. The strings must live until then. */
void ckpt_annotate(const ckpt_annotation *annotations, size_t count);

/* Replaces the checkpoint with these bytes. They are durable when this returns CKPT_OK. */
ckpt_status ckpt_write(const void *contents, size_t size);

/* Replaces the checkpoint with the file or directory at `path`. */
ckpt_status ckpt_save(const char *path);

/* Like `ckpt_write` and `ckpt_save`, but return once the host has its own copy. */
ckpt_status ckpt_write_in_background(const void *contents, size_t size);
ckpt_status ckpt_save_in_background(const char *path);

/* Waits until no background save is in flight. */
ckpt_status ckpt_flush(void);

/* What `ckpt_restore` does with a target that has other content than the checkpoint. */
typedef enum {
    /* Fails with CKPT_INVALID_PATH and changes nothing. */
    CKPT_REFUSE,
    /* Removes what is not in the checkpoint. */
    CKPT_REPLACE,
} ckpt_existing;

/* Makes `path` equal to the checkpoint: a file if a file or bytes were saved, a directory if a directory was saved. Sets
 * whether there was a checkpoint; if not, leaves the target alone. `found` may be NULL. */
ckpt_status ckpt_restore(const char *path, ckpt_existing existing, bool *found);

/* What this attempt resumes from. */
typedef struct {
    /* False if no earlier attempt has saved anything. Then the rest is 0. */
    bool exists;
    /* Its texts are valid until the next call. */
    ckpt_checkpoint checkpoint;
    /* Whether newer checkpoints were damaged, so that this one is older. */
    bool fell_back;
} ckpt_resume_point;

ckpt_status ckpt_get_resume_point(ckpt_resume_point *point);

/* Returns whether this is a good time to save. Cheap: call it at every step. */
bool ckpt_save_due(void);

/* Returns whether the host has asked the task to stop. The task should save and return. Sets the time until the host ends
 * it, unless `milliseconds` is NULL. */
bool ckpt_stopping(uint64_t *milliseconds);

/* What to do with a checkpoint whose schema is not the declared one. */
typedef enum {
    CKPT_SCHEMA_REFUSE,
    CKPT_SCHEMA_START_FRESH,
    CKPT_SCHEMA_ALLOW,
} ckpt_schema_change;

/* Declares the schema of what this task saves. Call it before reading anything. */
ckpt_status ckpt_declare_schema(const char *name, ckpt_schema_change change);

/* The host's limits. A call that would exceed one fails with CKPT_QUOTA_EXCEEDED. */
typedef struct {
    /* The maximum size of a checkpoint's contents. */
    uint64_t checkpoint_bytes;
    /* How much saves may still add to the storage now. Data that is already stored is not counted again. */
    uint64_t bytes_left;
    /* The maximum number of files, directories and links in a checkpoint. */
    uint64_t entries;
    /* The maximum length of a path in a checkpoint. */
    uint64_t path_bytes;
    /* The maximum size of a checkpoint's annotations and schema together. */
    uint64_t annotation_bytes;
    /* The maximum number of saves in any one minute. */
    uint32_t saves_per_minute;
} ckpt_limits;

ckpt_status ckpt_get_limits(ckpt_limits *limits);

/* A save of contents that are larger than the task's memory. Only one may be open at a time. */
typedef struct ckpt_save_stream ckpt_save_stream;

ckpt_status ckpt_save_begin(ckpt_save_stream **stream);
ckpt_status ckpt_save_write(ckpt_save_stream *stream, const void *piece, size_t size);
/* Replaces the checkpoint with what was written. Frees the stream, whether it succeeds or not. */
ckpt_status ckpt_save_commit(ckpt_save_stream *stream);
/* Frees the stream and saves nothing. */
void ckpt_save_abort(ckpt_save_stream *stream);

/* The contents of a checkpoint that are read in pieces. */
typedef struct ckpt_read_stream ckpt_read_stream;

/* Sets NULL if there is no checkpoint. */
ckpt_status ckpt_read_begin(ckpt_read_stream **stream);
/* Returns the size of all the contents. */
uint64_t ckpt_read_size(const ckpt_read_stream *stream);
/* Reads up to `most` bytes. Sets 0 at the end. */
ckpt_status ckpt_read_piece(ckpt_read_stream *stream, void *piece, size_t most, size_t *size);
void ckpt_read_end(ckpt_read_stream *stream);

#ifdef __cplusplus
}
#endif

#endif
