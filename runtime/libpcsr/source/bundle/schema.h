/* Checks JSON with a schema, in as much of JSON Schema 2020-12 as manifest.schema.json uses; an
   integer is written without a point. */
#pragma once
#include "bundle/json.h"

namespace pcsr {

/* pcsr/manifest.schema.json, as CMake found it. */
extern const char *const MANIFEST_SCHEMA;

/* Throws std::invalid_argument where a manifest does not fit; one line that says what was expected
   and what was found. */
void check_manifest(const Json &manifest);

}  // namespace pcsr
