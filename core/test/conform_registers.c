/* A libc call leaves every register but rax, rcx and r11 as the kernel would: general, SIMD, flags, red zone. */
#include "conform.h"

#include <immintrin.h>

struct registers {
	uint64_t rdi, rsi, rdx, r10, r8, r9, rbx, rbp, r12, r13, r14, r15, flags, rsp, rax;
	uint64_t red[16];
};

/* Loads everything from `in`, calls fn (which is no more than mov eax; syscall; ret), stores everything in `out`. */
void call_with(const struct registers *in, struct registers *out, void *fn);

__asm__(".text\n"
	"call_with:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	push %rsi\n"
	"	push %rdx\n"
	"	push %rdi\n"
	"	mov %rdi, %rax\n"
	"	lea -136(%rsp), %rcx\n"	/* the red zone of fn, whose rsp is ours - 8 */
	"	xor %r11d, %r11d\n"
	"1:	mov 120(%rax,%r11,8), %rdx\n"
	"	mov %rdx, (%rcx,%r11,8)\n"
	"	inc %r11\n"
	"	cmp $16, %r11\n"
	"	jne 1b\n"
	"	mov 0(%rax), %rdi; mov 8(%rax), %rsi; mov 16(%rax), %rdx; mov 24(%rax), %r10; mov 32(%rax), %r8\n"
	"	mov 40(%rax), %r9; mov 48(%rax), %rbx; mov 56(%rax), %rbp; mov 64(%rax), %r12; mov 72(%rax), %r13\n"
	"	mov 80(%rax), %r14; mov 88(%rax), %r15\n"
	"	mov 8(%rsp), %rcx\n"
	/* flags by sahf and add, since popf would go through the stack, where the red zone is */
	"	mov 96(%rax), %rax\n"
	"	add $0x7f, %al\n"
	"	sahf\n"
	"	call *%rcx\n"
	"	mov 16(%rsp), %rcx\n"
	"	mov %rax, 112(%rcx)\n"
	"	lahf\n"
	"	seto %al\n"
	"	mov %rax, 96(%rcx)\n"
	"	mov %rdi, 0(%rcx); mov %rsi, 8(%rcx); mov %rdx, 16(%rcx); mov %r10, 24(%rcx); mov %r8, 32(%rcx)\n"
	"	mov %r9, 40(%rcx); mov %rbx, 48(%rcx); mov %rbp, 56(%rcx); mov %r12, 64(%rcx); mov %r13, 72(%rcx)\n"
	"	mov %r14, 80(%rcx); mov %r15, 88(%rcx)\n"
	"	mov (%rsp), %rax\n"
	"	mov 104(%rax), %rdx\n"
	"	mov %rdx, 104(%rcx)\n"
	"	xor %r11d, %r11d\n"
	"2:	mov -136(%rsp,%r11,8), %rdx\n"
	"	mov %rdx, 120(%rcx,%r11,8)\n"
	"	inc %r11\n"
	"	cmp $16, %r11\n"
	"	jne 2b\n"
	"	add $24, %rsp\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n");

static void general(void)
{
	struct registers in, out;
	int bad = 0;

	for (unsigned flags = 0; flags < 64; flags++) {
		memset(&out, 0, sizeof(out));
		for (unsigned i = 0; i < sizeof(in) / 8; i++)
			((uint64_t *)&in)[i] = 0x0123456789abcdefull * (i + 1) + flags;
		/* ah: SF ZF - AF - PF 1 CF; al: OF */
		in.flags = (flags & 1 ? 0x8000u : 0) | (flags & 2 ? 0x4000u : 0) | (flags & 4 ? 0x1000u : 0) |
			   (flags & 8 ? 0x400u : 0) | (flags & 16 ? 0x100u : 0) | 0x200u | (flags >> 5);
		call_with(&in, &out, (void *)getppid);
		for (unsigned i = 0; i < 12; i++)
			if (((uint64_t *)&in)[i] != ((uint64_t *)&out)[i]) {
				say("  register %u changed\n", i);
				bad++;
			}
		if ((in.flags & 0xffff) != (out.flags & 0xffff)) {
			say("  flags %lx became %lx\n", in.flags & 0xffff, out.flags & 0xffff);
			bad++;
		}
		if (memcmp(in.red, out.red, sizeof(in.red))) {
			say("  red zone changed\n");
			bad++;
		}
		if ((pid_t)out.rax != (pid_t)syscall(SYS_getppid))
			say("  wrong result\n");
	}
	say("  %d differences\n", bad);
}

static void simd(void)
{
	uint8_t before[512 + 16] __attribute__((aligned(16))), after[16];
	unsigned csr;

	for (unsigned i = 0; i < 16; i++)
		before[i] = (uint8_t)(i * 7 + 3);
	__asm__ volatile("movdqa %0, %%xmm7" : : "m"(*(__m128i *)before) : "xmm7");
	for (int i = 0; i < 1000; i++)
		getppid();
	__asm__ volatile("movdqu %%xmm7, %0" : "=m"(*(__m128i *)after));
	say("  xmm7 %s\n", memcmp(before, after, 16) ? "changed" : "kept");
	_mm_setcsr(_mm_getcsr() | 0x8040);
	getppid();
	csr = _mm_getcsr();
	say("  mxcsr %x\n", csr & 0x8040);
}

static void direction(void)
{
	uint64_t flags;

	getppid();
	__asm__ volatile("pushfq; pop %0" : "=r"(flags));
	say("  direction %d trap %d\n", !!(flags & 0x400), !!(flags & 0x100));
}

static void six_arguments(void)
{
	char name[] = "/tmp/conform-XXXXXX", text[8] = "";
	int fd = mkstemp(name);
	char *at;

	unlink(name);
	if (ftruncate(fd, 8192) < 0 || pwrite(fd, "hello", 5, 4096) != 5)
		say("  no file\n");
	at = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 4096);
	say("  mmap: %.5s\n", at);
	say("  pread: %d %.5s\n", (int)pread(fd, text, 5, 4096), text);
	say("  syscall(pread): %d\n", (int)syscall(SYS_pread64, fd, text, 5, 4098));
	say("  syscall(mmap): %d\n", (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED);
}

static const struct check checks[] = {
	{ "registers_flags_and_red_zone", general },
	{ "simd", simd },
	{ "direction_flag", direction },
	{ "six_arguments", six_arguments },
};

CONFORM_MAIN(checks)
