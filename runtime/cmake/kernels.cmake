# Renders kernels/ for the target and compiles it: one render command per op folder, each source with the flags its row asks for.
set(tiercast_root ${CMAKE_CURRENT_SOURCE_DIR})
if(NOT TIERCAST_PYTHON)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  set(TIERCAST_PYTHON ${Python3_EXECUTABLE})
endif()
if(NOT TIERCAST_GENERATED_DIR)
  set(TIERCAST_GENERATED_DIR ${CMAKE_BINARY_DIR}/generated)
endif()
# In a checkout the compiler's source folder holds the package `tiercast`; in an installed one we are inside that package.
set(tiercast_import_dir ${tiercast_root}/compiler)
if(NOT EXISTS ${tiercast_import_dir})
  get_filename_component(tiercast_import_dir ${tiercast_root} DIRECTORY)
  set(tiercast_codegen_dir ${tiercast_root}/codegen)
else()
  set(tiercast_codegen_dir ${tiercast_import_dir}/tiercast/codegen)
endif()
set(tiercast_codegen ${TIERCAST_PYTHON} -m tiercast.codegen --target ${TIERCAST_TARGET})
if(TIERCAST_ONLY)
  list(APPEND tiercast_codegen --only ${TIERCAST_ONLY})
endif()
set(tiercast_extra_manifest "")
if(TIERCAST_EXTRA)
  list(APPEND tiercast_codegen --extra ${TIERCAST_EXTRA})
  set(tiercast_extra_manifest ${TIERCAST_EXTRA}/kernels.json)
endif()

# What the list of sources depends on.
file(GLOB tiercast_manifests CONFIGURE_DEPENDS ${tiercast_root}/kernels/*.toml ${tiercast_root}/kernels/*/kernels.toml)
file(GLOB tiercast_codegen_sources CONFIGURE_DEPENDS ${tiercast_codegen_dir}/*.py)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${tiercast_manifests} ${tiercast_codegen_sources} ${tiercast_target_file}
                                                               ${TIERCAST_ONLY} ${tiercast_extra_manifest})
execute_process(COMMAND ${tiercast_codegen} --list WORKING_DIRECTORY ${tiercast_import_dir} OUTPUT_VARIABLE tiercast_listing
                RESULT_VARIABLE tiercast_result)
if(NOT tiercast_result EQUAL 0)
  message(FATAL_ERROR "Listing the kernel sources failed; it needs Python 3.11 with Jinja2 (TIERCAST_PYTHON is ${TIERCAST_PYTHON})")
endif()

# `op<TAB>path<TAB>flags`, flags apart by `;`: kept from splitting the list until each line is read.
string(REPLACE ";" "\\;" tiercast_listing "${tiercast_listing}")
string(REGEX REPLACE "\n" ";" tiercast_listing "${tiercast_listing}")
set(tiercast_ops "")
set(tiercast_extra_objects "")
set(tiercast_kernel_sources "")
foreach(line IN LISTS tiercast_listing)
  if(NOT line MATCHES "^([^\t]+)\t([^\t]+)\t?(.*)$")
    continue()
  endif()
  set(op ${CMAKE_MATCH_1})
  set(path ${TIERCAST_GENERATED_DIR}/${CMAKE_MATCH_2})
  set(flags ${CMAKE_MATCH_3})
  if(op STREQUAL "+")  # of an extra library: there already
    set(path ${CMAKE_MATCH_2})
    if(path MATCHES "\\.o$")
      list(APPEND tiercast_extra_objects ${path})
    else()
      list(APPEND tiercast_kernel_sources ${path})
      set_source_files_properties(${path} PROPERTIES COMPILE_OPTIONS "${flags}")
    endif()
    continue()
  endif()
  list(APPEND tiercast_ops ${op})
  list(APPEND tiercast_files_${op} ${path})
  set_source_files_properties(${path} PROPERTIES GENERATED TRUE)
  if(path MATCHES "\\.cc$")
    list(APPEND tiercast_kernel_sources ${path})
    set_source_files_properties(${path} PROPERTIES COMPILE_OPTIONS "${flags}")
  endif()
endforeach()
list(REMOVE_DUPLICATES tiercast_ops)

# A stamp stands for each op's files: those that rendering leaves unchanged are not compiled again.
set(tiercast_stamps "")
foreach(op IN LISTS tiercast_ops)
  set(stamp ${TIERCAST_GENERATED_DIR}/${op}.stamp)
  set(templates "")
  if(NOT op STREQUAL "_")
    file(GLOB templates CONFIGURE_DEPENDS ${tiercast_root}/kernels/${op}/*)
  endif()
  file(GLOB shared_templates CONFIGURE_DEPENDS ${tiercast_root}/kernels/*/*.j2)
  add_custom_command(
    OUTPUT ${stamp}
    BYPRODUCTS ${tiercast_files_${op}}
    COMMAND ${tiercast_codegen} --out ${TIERCAST_GENERATED_DIR} --op ${op}
    COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
    DEPENDS ${templates} ${shared_templates} ${tiercast_manifests} ${tiercast_codegen_sources} ${TIERCAST_ONLY} ${tiercast_extra_manifest}
    WORKING_DIRECTORY ${tiercast_import_dir}
    COMMENT "Rendering kernels/${op}"
    VERBATIM)
  list(APPEND tiercast_stamps ${stamp})
endforeach()
add_custom_target(tiercast_render DEPENDS ${tiercast_stamps})

add_library(tiercast_kernels STATIC ${tiercast_kernel_sources})
add_dependencies(tiercast_kernels tiercast_render)
target_include_directories(tiercast_kernels PRIVATE ${TIERCAST_GENERATED_DIR} ${TIERCAST_EXTRA} ${tiercast_root}/kernels
                                                    ${tiercast_root}/runtime/include)
target_link_libraries(tiercast_kernels PUBLIC ${tiercast_extra_objects})
target_link_libraries(tiercast_full PRIVATE ${tiercast_extra_objects})
set(tiercast_kernel_level -O3)
if(TIERCAST_SANITIZE)
  set(tiercast_kernel_level -O1)  # it is for finding faults, and compiles in a third of the time
endif()
target_compile_options(tiercast_kernels PRIVATE ${tiercast_kernel_level} -ffp-contract=fast -fno-math-errno)
target_link_libraries(tiercast_kernels PRIVATE tiercast_rules PUBLIC m)
