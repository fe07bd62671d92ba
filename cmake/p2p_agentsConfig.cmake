include(CMakeFindDependencyMacro)
include(${CMAKE_CURRENT_LIST_DIR}/Dependencies.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/p2p_agentsTargets.cmake)
