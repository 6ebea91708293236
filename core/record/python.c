#include "python.h"

#include "module.h"
#include "peephole/abi_record.h"

#define VERSION_3_11 0x030b

/* CPython 3.11: Include/internal/pycore_runtime.h, pycore_interp.h, pycore_frame.h, Include/cpython/pystate.h, code.h and
 * unicodeobject.h. Other versions have them elsewhere: there the interpreter's own native frames are shown. */
static const struct ph_python offsets_3_11 = {
	.interpreters = 40, .threads = 16, .thread_next = 8, .thread_id = 152, .thread_cframe = 56, .cframe_frame = 8,
	.frame_code = 32, .frame_previous = 48, .code_line = 72, .code_file = 112, .code_name = 128, .text_state = 32,
	.text_bytes = 48,
};

bool ph_python_in(const struct ph_module *module, uint64_t bias, struct ph_python *out)
{
	uint64_t runtime = ph_module_object(module, "_PyRuntime"), at = runtime ? ph_module_object(module, "Py_Version") : 0;
	uint64_t version = 0;

	if (!at || ph_module_read(module, at, &version, sizeof(version)) || version >> 16 != VERSION_3_11)
		return false;
	*out = offsets_3_11;
	out->interpreters += bias + runtime;
	return true;
}
