/* Files, memory and lines of answers; what fails there ends the program. */
#ifndef FILES_H
#define FILES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *what) {
    fprintf(stderr, "driver: %s\n", what);
    exit(1);
}

static void *allocated(size_t size) {
    void *memory = malloc(size > 0 ? size : 1);
    if (memory == NULL) fail("out of memory");
    return memory;
}

static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail(path);
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    rewind(file);
    char *bytes = allocated((size_t)size);
    if (fread(bytes, 1, (size_t)size, file) != (size_t)size) fail(path);
    fclose(file);
    return bytes;
}

static void write_file(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) fail(path);
}

static void copy_path(char *to, const char *path) {
    to[0] = 0;
    if (path == NULL) return;
    if (strlen(path) >= 512) fail("path too long");
    strcpy(to, path);
}

/* A field of a line must not break it. */
static void print_text(const char *key, const char *value) {
    printf("\t%s=", key);
    for (; *value; value++) {
        if (*value == '\n' || *value == '\t' || *value == '\r') fputs("<control>", stdout);
        else putchar(*value);
    }
}

#endif
