/* The rows of calls.def, by number. */
#include "calls.h"

const struct call_row ph_calls[PH_NR_MAX] = {
#define PH_CALL(nr, name, class, fd_arg, fd_arg2) [nr] = { class, fd_arg, fd_arg2 },
#define PH_QUIET(nr, name)
#include "calls.def"
};
