/* Commands of the tests: a verb, then key=value, all separated by tabs. */
#ifndef FIELDS_H
#define FIELDS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FIELDS = 64 };

typedef struct {
    char *verb;
    char *fields[MOST_FIELDS];
    int count;
} command;

static int parse(char *line, command *parsed) {
    parsed->count = 0;
    line[strcspn(line, "\n")] = 0;
    parsed->verb = strtok(line, "\t");
    if (parsed->verb == NULL) return 0;
    for (char *field; (field = strtok(NULL, "\t")) != NULL;) {
        if (parsed->count == MOST_FIELDS) return 0;
        parsed->fields[parsed->count++] = field;
    }
    return 1;
}

/* The value of a key, or NULL. */
static const char *text(const command *parsed, const char *key) {
    const size_t length = strlen(key);
    for (int i = 0; i < parsed->count; i++) {
        const char *field = parsed->fields[i];
        if (strncmp(field, key, length) == 0 && field[length] == '=') return field + length + 1;
    }
    return NULL;
}

static int64_t whole(const command *parsed, const char *key, int64_t otherwise) {
    const char *value = text(parsed, key);
    return value == NULL ? otherwise : (int64_t)strtoll(value, NULL, 10);
}

static double real(const command *parsed, const char *key, double otherwise) {
    const char *value = text(parsed, key);
    return value == NULL ? otherwise : strtod(value, NULL);
}

#endif
