#include "messages.h"

#include "numbers.h"
#include "opens.h"

#define SCM_RIGHTS 1
#define MESSAGES_MAX 16
#define MMSGHDR_BYTES 64	/* a struct msghdr and a number */
#define CONTROL_MAX 2048	/* more than the 253 descriptors that one message may carry (unix(7)) */

struct message {		/* struct msghdr of x86-64 */
	uint64_t name, name_bytes, iov, n_iov, control, control_bytes, flags;
};

struct control {		/* struct cmsghdr; its data follow, and each begins at a multiple of 8 */
	uint64_t bytes;
	int32_t level, type;
};

static void share(struct ph_walk *walk, const uint8_t *numbers, uint64_t bytes)
{
	for (uint64_t i = 0; i + sizeof(int32_t) <= bytes; i += sizeof(int32_t)) {
		struct ph_description *d = ph_description_of(*(const int32_t *)(numbers + i));

		if (d)
			ph_share(walk, d, PH_WHY_SHARED);
	}
}

static bool share_message(struct ph_walk *walk, int64_t message)
{
	_Alignas(8) uint8_t data[CONTROL_MAX];
	struct message m;

	if (ph_copy_in(&m, (const void *)message, sizeof(m)) < 0)
		return false;
	if (!m.control || !m.control_bytes)
		return true;
	if (m.control_bytes > sizeof(data) || ph_copy_in(data, (const void *)m.control, m.control_bytes) < 0)
		return false;
	ph_walk_hold(walk);
	for (uint64_t at = 0; at + sizeof(struct control) <= m.control_bytes;) {
		const struct control *c = (const struct control *)(data + at);

		if (c->bytes < sizeof(*c) || c->bytes > m.control_bytes - at)
			return false;
		if (c->level == PH_SOL_SOCKET && c->type == SCM_RIGHTS)
			share(walk, data + at + sizeof(*c), c->bytes - sizeof(*c));
		at += (c->bytes + 7) & ~7ull;
	}
	return true;
}

bool ph_messages_share(struct ph_walk *walk, const struct ph_call *call)
{
	uint64_t n = call->nr == PH_NR_sendmmsg ? (uint32_t)call->a[2] : 1;

	if (n > MESSAGES_MAX)
		return false;
	for (uint64_t i = 0; i < n; i++)
		if (!share_message(walk, call->a[1] + (int64_t)(i * MMSGHDR_BYTES)))
			return false;
	return true;
}
