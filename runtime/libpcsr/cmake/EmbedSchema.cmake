# The manifest's schema, as it lies in the Python package, as a source of the library:
# PCSR_SCHEMA_SOURCE names it.
set(PCSR_SCHEMA "${CMAKE_CURRENT_LIST_DIR}/../../../pcsr/manifest.schema.json")
set(PCSR_SCHEMA_SOURCE "${CMAKE_CURRENT_BINARY_DIR}/schema_text.cpp")
file(READ "${PCSR_SCHEMA}" PCSR_MANIFEST_SCHEMA)
configure_file(
    "${CMAKE_CURRENT_LIST_DIR}/../source/bundle/schema_text.cpp.in" "${PCSR_SCHEMA_SOURCE}" @ONLY
)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${PCSR_SCHEMA}")
