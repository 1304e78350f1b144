#include "task_checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/program.h"

/* The bindings expect an object file with the types of the import. Here `wasm-tools component embed` adds them from the WIT,
 * so that nothing binary needs to be kept. Weak, for whoever links such a file all the same. */
__attribute__((weak)) void __component_type_object_force_link_program(void) {}

/* The most that `blocking-write-and-flush` accepts. */
enum { PIECE_BYTES = 4096 };

static char message[512];

static ckpt_status fail(ckpt_status status, const char *what, size_t size) {
    snprintf(message, sizeof message, "%.*s", (int)size, what);
    return status;
}

static ckpt_status fail_text(ckpt_status status, const char *what) {
    return fail(status, what, strlen(what));
}

/* Converts an error of the import, and frees it. */
static ckpt_status failed(task_checkpoint_types_error_t *error) {
    ckpt_status status = CKPT_OTHER;
    switch (error->tag) {
    case TASK_CHECKPOINT_TYPES_ERROR_FENCED:
        return fail_text(CKPT_FENCED, "a newer attempt of this task has begun");
    case TASK_CHECKPOINT_TYPES_ERROR_NOT_SINGLE:
        snprintf(message, sizeof message, "the checkpoint holds %llu files, not one; use ckpt_restore",
                 (unsigned long long)error->val.not_single);
        return CKPT_NOT_SINGLE;
    case TASK_CHECKPOINT_TYPES_ERROR_CORRUPT: status = CKPT_CORRUPT; break;
    case TASK_CHECKPOINT_TYPES_ERROR_UNAVAILABLE: status = CKPT_UNAVAILABLE; break;
    case TASK_CHECKPOINT_TYPES_ERROR_QUOTA_EXCEEDED: status = CKPT_QUOTA_EXCEEDED; break;
    case TASK_CHECKPOINT_TYPES_ERROR_INVALID_PATH: status = CKPT_INVALID_PATH; break;
    case TASK_CHECKPOINT_TYPES_ERROR_READ_ONLY: status = CKPT_READ_ONLY; break;
    case TASK_CHECKPOINT_TYPES_ERROR_SCHEMA_MISMATCH: status = CKPT_SCHEMA_MISMATCH; break;
    default: break;
    }
    /* The other cases hold a text, at the same place. */
    fail(status, (const char *)error->val.other.ptr, error->val.other.len);
    task_checkpoint_types_error_free(error);
    return status;
}

const char *ckpt_error(void) { return message; }

/* The annotations of the next save. */
static task_checkpoint_types_annotations_t annotations;

void ckpt_annotate(const ckpt_annotation *notes, size_t count) {
    free(annotations.ptr);
    annotations.len = 0;
    annotations.ptr = calloc(count, sizeof *annotations.ptr);
    if (!annotations.ptr) return;
    for (; annotations.len < count; annotations.len++) {
        program_string_set(&annotations.ptr[annotations.len].f0, notes[annotations.len].key);
        program_string_set(&annotations.ptr[annotations.len].f1, notes[annotations.len].value);
    }
}

/* Ends a save, which used the annotations. */
static ckpt_status saved(bool ok, task_checkpoint_types_error_t *error) {
    ckpt_annotate(NULL, 0);
    return ok ? CKPT_OK : failed(error);
}

ckpt_status ckpt_prev_exists(bool *exists) {
    task_checkpoint_types_error_t error;
    return task_checkpoint_checkpointer_prev_exists(exists, &error) ? CKPT_OK : failed(&error);
}

/* A checkpoint with the memory of its texts. */
typedef struct {
    ckpt_checkpoint checkpoint;
    ckpt_annotation *annotations;
    char *texts;
} kept_checkpoint;

/* Copies a text to `at` and ends it with a zero, which those of the import lack. Returns the end. */
static char *copy(char *at, const program_string_t *text) {
    memcpy(at, text->ptr, text->len);
    at[text->len] = 0;
    return at + text->len + 1;
}

/* Keeps a checkpoint in place of the one before. Returns false if there is no memory. */
static bool keep(kept_checkpoint *kept, const task_checkpoint_types_checkpoint_t *from) {
    size_t size = from->schema.is_some ? from->schema.val.len + 1 : 0;
    for (size_t note = 0; note < from->annotations.len; note++) {
        size += from->annotations.ptr[note].f0.len + from->annotations.ptr[note].f1.len + 2;
    }
    free(kept->annotations);
    free(kept->texts);
    kept->annotations = calloc(from->annotations.len + 1, sizeof *kept->annotations);
    char *at = kept->texts = malloc(size + 1);
    kept->checkpoint = (ckpt_checkpoint){
        .sequence = from->sequence, .attempt = from->attempt, .age_milliseconds = from->age};
    if (!kept->annotations || !at) return false;
    for (size_t note = 0; note < from->annotations.len; note++) {
        kept->annotations[note].key = at;
        at = copy(at, &from->annotations.ptr[note].f0);
        kept->annotations[note].value = at;
        at = copy(at, &from->annotations.ptr[note].f1);
    }
    kept->checkpoint.annotations = kept->annotations;
    kept->checkpoint.annotation_count = from->annotations.len;
    if (from->schema.is_some) {
        kept->checkpoint.schema = at;
        copy(at, &from->schema.val);
    }
    return true;
}

static ckpt_status no_memory(void) { return fail_text(CKPT_OTHER, "out of memory"); }

/* The checkpoint that was given last, and whether there was one. */
static kept_checkpoint given;
static bool is_given;

/* Keeps what a call has given, and frees the rest. */
static ckpt_status give(task_checkpoint_types_checkpoint_t *checkpoint) {
    is_given = keep(&given, checkpoint);
    task_checkpoint_types_checkpoint_free(checkpoint);
    return is_given ? CKPT_OK : no_memory();
}

const ckpt_checkpoint *ckpt_given(void) { return is_given ? &given.checkpoint : NULL; }

ckpt_status ckpt_read(void **contents, size_t *size) {
    task_checkpoint_types_error_t error;
    task_checkpoint_checkpointer_option_contents_t read;
    *contents = NULL;
    *size = 0;
    is_given = false;
    if (!task_checkpoint_checkpointer_read(&read, &error)) return failed(&error);
    if (!read.is_some) return CKPT_OK;
    ckpt_status status = give(&read.val.checkpoint);
    if (status) {
        program_list_u8_free(&read.val.bytes);
        return status;
    }
    *size = read.val.bytes.len;
    /* Contents without bytes have no memory of their own. */
    *contents = read.val.bytes.len > 0 ? read.val.bytes.ptr : malloc(1);
    return *contents ? CKPT_OK : no_memory();
}

static program_list_u8_t bytes(const void *contents, size_t size) {
    return (program_list_u8_t){.ptr = (uint8_t *)contents, .len = size};
}

ckpt_status ckpt_write(const void *contents, size_t size) {
    task_checkpoint_types_error_t error;
    task_checkpoint_types_saved_t ret;
    program_list_u8_t list = bytes(contents, size);
    return saved(task_checkpoint_checkpointer_write(&list, &annotations, &ret, &error), &error);
}

ckpt_status ckpt_write_in_background(const void *contents, size_t size) {
    task_checkpoint_types_error_t error;
    program_list_u8_t list = bytes(contents, size);
    return saved(task_checkpoint_checkpointer_write_in_background(&list, &annotations, &error), &error);
}

/* The host resolves the path, and reports one that is empty. */
static program_string_t path_text(const char *path) {
    program_string_t text;
    program_string_set(&text, path ? path : "");
    return text;
}

ckpt_status ckpt_save(const char *path) {
    task_checkpoint_types_error_t error;
    task_checkpoint_types_saved_t ret;
    program_string_t text = path_text(path);
    return saved(task_checkpoint_paths_save(&text, &annotations, &ret, &error), &error);
}

ckpt_status ckpt_save_in_background(const char *path) {
    task_checkpoint_types_error_t error;
    program_string_t text = path_text(path);
    return saved(task_checkpoint_paths_save_in_background(&text, &annotations, &error), &error);
}

ckpt_status ckpt_restore(const char *path, ckpt_existing existing, bool *found) {
    task_checkpoint_types_error_t error;
    task_checkpoint_paths_option_checkpoint_t restored;
    program_string_t text = path_text(path);
    is_given = false;
    task_checkpoint_types_existing_t how =
        existing == CKPT_REPLACE ? TASK_CHECKPOINT_TYPES_EXISTING_REPLACE : TASK_CHECKPOINT_TYPES_EXISTING_REFUSE;
    if (!task_checkpoint_paths_restore(&text, how, &restored, &error)) return failed(&error);
    if (found) *found = restored.is_some;
    return restored.is_some ? give(&restored.val) : CKPT_OK;
}

ckpt_status ckpt_flush(void) {
    task_checkpoint_types_error_t error;
    task_checkpoint_checkpointer_option_saved_t ret;
    return task_checkpoint_checkpointer_flush(&ret, &error) ? CKPT_OK : failed(&error);
}

ckpt_status ckpt_get_resume_point(ckpt_resume_point *point) {
    task_checkpoint_types_error_t error;
    task_checkpoint_checkpointer_resume_point_t resume;
    *point = (ckpt_resume_point){0};
    if (!task_checkpoint_checkpointer_get_resume_point(&resume, &error)) return failed(&error);
    point->exists = resume.tag != TASK_CHECKPOINT_CHECKPOINTER_RESUME_POINT_FRESH;
    point->fell_back = resume.tag == TASK_CHECKPOINT_CHECKPOINTER_RESUME_POINT_FELL_BACK;
    static kept_checkpoint kept;
    bool is_kept = true;
    if (point->exists) {
        is_kept = keep(&kept, point->fell_back ? &resume.val.fell_back.checkpoint : &resume.val.resumed);
        point->checkpoint = kept.checkpoint;
    }
    task_checkpoint_checkpointer_resume_point_free(&resume);
    return is_kept ? CKPT_OK : no_memory();
}

static task_checkpoint_checkpointer_advice_t advice(void) {
    task_checkpoint_checkpointer_advice_t ret;
    task_checkpoint_checkpointer_should_save(&ret);
    return ret;
}

bool ckpt_save_due(void) { return task_checkpoint_checkpointer_save_due(); }

bool ckpt_stopping(uint64_t *milliseconds) {
    task_checkpoint_checkpointer_advice_t said = advice();
    if (said.stopping.is_some && milliseconds) *milliseconds = said.stopping.val;
    return said.stopping.is_some;
}

ckpt_status ckpt_declare_schema(const char *name, ckpt_schema_change change) {
    task_checkpoint_types_error_t error;
    program_string_t text;
    program_string_set(&text, name);
    /* The values are in the order of the import's. */
    return task_checkpoint_checkpointer_declare_schema(&text, (task_checkpoint_checkpointer_schema_change_t)change, &error)
               ? CKPT_OK
               : failed(&error);
}

ckpt_status ckpt_get_limits(ckpt_limits *limits) {
    task_checkpoint_types_error_t error;
    task_checkpoint_checkpointer_limits_t ret;
    *limits = (ckpt_limits){0};
    if (!task_checkpoint_checkpointer_get_limits(&ret, &error)) return failed(&error);
    *limits = (ckpt_limits){
        .checkpoint_bytes = ret.checkpoint_bytes,
        .bytes_left = ret.bytes_left,
        .entries = ret.entries,
        .path_bytes = ret.path_bytes,
        .annotation_bytes = ret.annotation_bytes,
        .saves_per_minute = ret.saves_per_minute,
    };
    return CKPT_OK;
}

struct ckpt_save_stream {
    task_checkpoint_streams_own_save_stream_t save;
    task_checkpoint_streams_own_output_stream_t contents;
    uint64_t size;
};

ckpt_status ckpt_save_begin(ckpt_save_stream **stream) {
    task_checkpoint_types_error_t error;
    *stream = calloc(1, sizeof **stream);
    if (!*stream) return no_memory();
    ckpt_status status =
        saved(task_checkpoint_streams_static_save_stream_begin(&annotations, &(*stream)->save, &error), &error);
    if (!status) {
        task_checkpoint_streams_borrow_save_stream_t save = task_checkpoint_streams_borrow_save_stream((*stream)->save);
        if (task_checkpoint_streams_method_save_stream_contents(save, &(*stream)->contents, &error)) return CKPT_OK;
        status = failed(&error);
        task_checkpoint_streams_save_stream_drop_own((*stream)->save);
    }
    free(*stream);
    *stream = NULL;
    return status;
}

ckpt_status ckpt_save_write(ckpt_save_stream *stream, const void *piece, size_t size) {
    wasi_io_streams_borrow_output_stream_t contents = wasi_io_streams_borrow_output_stream(stream->contents);
    const uint8_t *at = piece;
    while (size > 0) {
        size_t part = size < PIECE_BYTES ? size : PIECE_BYTES;
        program_list_u8_t list = bytes(at, part);
        wasi_io_streams_stream_error_t error;
        if (!wasi_io_streams_method_output_stream_blocking_write_and_flush(contents, &list, &error)) {
            wasi_io_streams_stream_error_free(&error);
            return fail_text(CKPT_OTHER, "the save has failed; commit it to get the reason");
        }
        at += part, size -= part, stream->size += part;
    }
    return CKPT_OK;
}

ckpt_status ckpt_save_commit(ckpt_save_stream *stream) {
    task_checkpoint_types_error_t error;
    task_checkpoint_types_saved_t ret;
    wasi_io_streams_output_stream_drop_own(stream->contents);
    bool ok = task_checkpoint_streams_static_save_stream_commit(stream->save, stream->size, &ret, &error);
    free(stream);
    return ok ? CKPT_OK : failed(&error);
}

void ckpt_save_abort(ckpt_save_stream *stream) {
    if (!stream) return;
    wasi_io_streams_output_stream_drop_own(stream->contents);
    task_checkpoint_streams_save_stream_drop_own(stream->save);
    free(stream);
}

struct ckpt_read_stream {
    task_checkpoint_streams_own_input_stream_t contents;
    uint64_t size;
};

ckpt_status ckpt_read_begin(ckpt_read_stream **stream) {
    task_checkpoint_types_error_t error;
    task_checkpoint_streams_option_reading_t reading;
    *stream = NULL;
    is_given = false;
    if (!task_checkpoint_streams_read(&reading, &error)) return failed(&error);
    if (!reading.is_some) return CKPT_OK;
    *stream = malloc(sizeof **stream);
    if (!*stream) {
        task_checkpoint_streams_option_reading_free(&reading);
        return no_memory();
    }
    ckpt_status status = give(&reading.val.checkpoint);
    if (status) {
        wasi_io_streams_input_stream_drop_own(reading.val.contents);
        free(*stream);
        *stream = NULL;
        return status;
    }
    **stream = (ckpt_read_stream){.contents = reading.val.contents, .size = reading.val.size};
    return CKPT_OK;
}

uint64_t ckpt_read_size(const ckpt_read_stream *stream) { return stream->size; }

ckpt_status ckpt_read_piece(ckpt_read_stream *stream, void *piece, size_t most, size_t *size) {
    wasi_io_streams_stream_error_t error;
    program_list_u8_t read;
    *size = 0;
    if (most == 0) return CKPT_OK;
    wasi_io_streams_borrow_input_stream_t contents = wasi_io_streams_borrow_input_stream(stream->contents);
    if (wasi_io_streams_method_input_stream_blocking_read(contents, most, &read, &error)) {
        memcpy(piece, read.ptr, read.len);
        *size = read.len;
        program_list_u8_free(&read);
        return CKPT_OK;
    }
    ckpt_status status = CKPT_OK;
    if (error.tag == WASI_IO_STREAMS_STREAM_ERROR_LAST_OPERATION_FAILED) {
        program_string_t why;
        wasi_io_error_method_error_to_debug_string(wasi_io_error_borrow_error(error.val.last_operation_failed), &why);
        status = fail(CKPT_OTHER, (const char *)why.ptr, why.len);
        program_string_free(&why);
    }
    wasi_io_streams_stream_error_free(&error);
    return status;
}

void ckpt_read_end(ckpt_read_stream *stream) {
    if (!stream) return;
    wasi_io_streams_input_stream_drop_own(stream->contents);
    free(stream);
}
