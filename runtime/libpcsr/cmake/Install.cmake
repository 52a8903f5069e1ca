# Headers, the library, and what CMake and pkg-config find it by. The prefix may be moved.
include(CMakePackageConfigHelpers)
set(package "${CMAKE_INSTALL_LIBDIR}/cmake/pcsr")

install(
    TARGETS pcsr
    EXPORT pcsrTargets
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
)
install(
    FILES include/pcsr/pcsr.h include/pcsr/pcsr.hpp
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/pcsr"
)
install(EXPORT pcsrTargets NAMESPACE pcsr:: DESTINATION "${package}")

configure_package_config_file(
    cmake/pcsrConfig.cmake.in pcsrConfig.cmake
    INSTALL_DESTINATION "${package}"
    NO_CHECK_REQUIRED_COMPONENTS_MACRO
)
# Before 1.0 a minor version may break what programs rely on.
write_basic_package_version_file(pcsrConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(
    FILES "${CMAKE_CURRENT_BINARY_DIR}/pcsrConfig.cmake"
          "${CMAKE_CURRENT_BINARY_DIR}/pcsrConfigVersion.cmake"
    DESTINATION "${package}"
)

file(RELATIVE_PATH up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" up "${up}")
configure_file(cmake/pcsr.pc.in pcsr.pc @ONLY)
install(
    FILES "${CMAKE_CURRENT_BINARY_DIR}/pcsr.pc"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig"
)
