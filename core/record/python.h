/* Interpreters of Python in mapped files: where their list of frames begins. */
#ifndef PH_RECORD_PYTHON_H
#define PH_RECORD_PYTHON_H

#include <stdbool.h>
#include <stdint.h>

struct ph_module;
struct ph_python;

/* Whether the file holds an interpreter whose frames are known (CPython 3.11); then `out` has where its list begins in a
 * process in which the file's addresses begin at `bias`. */
bool ph_python_in(const struct ph_module *module, uint64_t bias, struct ph_python *out);

#endif
