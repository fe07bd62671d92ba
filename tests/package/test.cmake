# Installs a build and builds this folder's project with what was installed, in a place of its own. The example is the one that the README shows.
#   cmake -D BUILD=… -D WORK=… -D GENERATOR=… -D COMPILER=… -D FLAGS=… -P test.cmake

set(root ${CMAKE_CURRENT_LIST_DIR}/../..)
file(READ ${root}/README.md readme)
file(READ ${root}/examples/library_example.cpp example)
string(FIND "${example}" "#include" begin)
string(SUBSTRING "${example}" ${begin} -1 example)
string(FIND "${readme}" "```cpp\n${example}```" at)
if(at EQUAL -1)
  message(FATAL_ERROR "README.md does not show examples/library_example.cpp as it is")
endif()

function(step)
  execute_process(COMMAND ${CMAKE_COMMAND} ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE ${WORK})
step(--install ${BUILD} --prefix ${WORK}/installed)
step(-S ${CMAKE_CURRENT_LIST_DIR} -B ${WORK}/build -G ${GENERATOR} -DCMAKE_PREFIX_PATH=${WORK}/installed -DCMAKE_CXX_COMPILER=${COMPILER}
     -DCMAKE_CXX_FLAGS=${FLAGS})
step(--build ${WORK}/build)
file(REMOVE_RECURSE ${WORK})
