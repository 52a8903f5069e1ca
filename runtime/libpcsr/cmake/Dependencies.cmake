# What the library is built with. A package that is missing is named with how to get it.
macro(pcsr_require package debian)
    find_package(${package} QUIET ${ARGN})
    if(NOT ${package}_FOUND)
        message(FATAL_ERROR "libpcsr needs ${package} (Debian: apt install ${debian})")
    endif()
endmacro()

pcsr_require(nlohmann_json nlohmann-json3-dev CONFIG)
pcsr_require(OpenSSL libssl-dev COMPONENTS Crypto)
pcsr_require(Threads libc6-dev)
