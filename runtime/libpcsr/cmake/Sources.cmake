# The sources and how they are compiled. The test programs take the same objects, whose names the
# library does not show.
include(cmake/EmbedSchema.cmake)
set(PCSR_CXX_SOURCES
    source/alpha.cpp
    source/api.cpp
    source/grid.cpp
    source/histogram.cpp
    source/image.cpp
    source/limits.cpp
    source/onnxruntime.cpp
    source/passes_view.cpp
    source/pcsr_pipeline.cpp
    source/pipeline.cpp
    source/plain_pipeline.cpp
    source/routing.cpp
    source/tiling.cpp
    source/upscaler.cpp
    source/workers.cpp
    source/bundle/bundle.cpp
    source/bundle/files.cpp
    source/bundle/json.cpp
    source/bundle/manifest.cpp
    source/bundle/mlps.cpp
    source/bundle/npz.cpp
    source/bundle/schema.cpp
    source/bundle/text.cpp
    source/bundle/zip.cpp
    source/onnx/attributes.cpp
    source/onnx/estimate.cpp
    source/onnx/fields.cpp
    source/onnx/layout_rules.cpp
    source/onnx/part_rules.cpp
    source/onnx/pruning.cpp
    source/onnx/reading.cpp
    source/onnx/shape_rules.cpp
    source/onnx/shapes.cpp
    source/onnx/weights.cpp
    source/onnx/window_rules.cpp
    source/onnx/wire.cpp
    "${PCSR_SCHEMA_SOURCE}"
)
include(cmake/Passes.cmake)
set(PCSR_CXX_FLAGS -O3 -ffp-contract=off -Wall -Wextra -Wpedantic)

# Compiles and links a target with the sanitizer that was asked for.
function(pcsr_sanitize target)
    if(PCSR_SANITIZE)
        set(flags -fsanitize=${PCSR_SANITIZE} -fno-sanitize-recover=undefined)
        set(quick "$<$<COMPILE_LANGUAGE:CXX>:-O1>")  # the passes keep their bits
        target_compile_options(${target} PRIVATE ${flags} -fno-omit-frame-pointer -g ${quick})
        target_link_options(${target} PRIVATE ${flags})
    endif()
endfunction()

add_library(pcsr_objects OBJECT ${PCSR_CXX_SOURCES} ${PCSR_PASSES})
set_target_properties(
    pcsr_objects
    PROPERTIES
        CXX_STANDARD 17
        CXX_STANDARD_REQUIRED ON
        CXX_EXTENSIONS OFF
        POSITION_INDEPENDENT_CODE ON
        C_VISIBILITY_PRESET hidden
        CXX_VISIBILITY_PRESET hidden
        VISIBILITY_INLINES_HIDDEN ON
)
target_compile_definitions(pcsr_objects PRIVATE PCSR_BUILD)
target_compile_options(
    pcsr_objects
    PRIVATE
        "$<$<COMPILE_LANGUAGE:C>:${PCSR_PASSES_FLAGS}>"
        "$<$<COMPILE_LANGUAGE:CXX>:${PCSR_CXX_FLAGS}>"
)
target_include_directories(
    pcsr_objects
    PUBLIC "${CMAKE_CURRENT_SOURCE_DIR}/include" "${CMAKE_CURRENT_SOURCE_DIR}/source"
           "${CMAKE_CURRENT_SOURCE_DIR}/../cpu/native"
)
target_link_libraries(
    pcsr_objects
    PUBLIC nlohmann_json::nlohmann_json OpenSSL::Crypto Threads::Threads ${CMAKE_DL_LIBS} m
)
pcsr_sanitize(pcsr_objects)
