/* The way from a stub into C and back, the raw system call, the copy routine, and the room for stubs.
 *
 *   in a stub     rax number, rdi rsi rdx r10 r8 r9 arguments, rcx the stub's own `syscall`; r11 and rcx are free,
 *                 since the kernel changes them too
 *   .Lframe       struct ph_frame at rsp, 128 bytes of the program's red zone above it
 *   flags         kept by lahf/seto, ten times cheaper than pushf/popf */

#define FRAME 80
#define BELOW (FRAME + 128)

	.macro	into_c function
	.cfi_startproc
	.cfi_def_cfa %rsp, 0
	.cfi_register %rip, %rcx
	lea	-BELOW(%rsp), %rsp
	.cfi_def_cfa_offset BELOW
	mov	%rdi, 0(%rsp)
	mov	%rsi, 8(%rsp)
	mov	%rdx, 16(%rsp)
	mov	%r10, 24(%rsp)
	mov	%r8, 32(%rsp)
	mov	%r9, 40(%rsp)
	mov	%rax, 48(%rsp)
	mov	%rcx, 64(%rsp)
	.cfi_offset %rip, 64 - BELOW
	mov	%rbx, 72(%rsp)
	.cfi_offset %rbx, 72 - BELOW
	lahf
	seto	%al
	mov	%rax, 56(%rsp)
	mov	%rsp, %rbx
	.cfi_def_cfa_register %rbx
	mov	%rsp, %rdi
	and	$-16, %rsp
	call	\function
	mov	%rbx, %rsp
	.cfi_def_cfa_register %rsp
	mov	56(%rsp), %rax
	add	$0x7f, %al		/* overflow, when seto stored 1 */
	sahf
	mov	0(%rsp), %rdi
	mov	8(%rsp), %rsi
	mov	16(%rsp), %rdx
	mov	24(%rsp), %r10
	mov	32(%rsp), %r8
	mov	40(%rsp), %r9
	mov	48(%rsp), %rax
	mov	64(%rsp), %rcx
	.cfi_register %rip, %rcx
	mov	72(%rsp), %rbx
	.cfi_restore %rbx
	lea	BELOW(%rsp), %rsp
	.cfi_def_cfa_offset 0
	jmp	*%rcx
	.cfi_endproc
	.endm

	.section .text.hot, "ax", @progbits
	.globl	ph_entry, ph_entry_after, ph_entry_ring
	.hidden	ph_entry, ph_entry_after, ph_entry_ring
	.type	ph_entry, @function
	.balign	64
ph_entry:
	into_c	ph_hook
	.size	ph_entry, . - ph_entry

	.type	ph_entry_after, @function
	.balign	64
ph_entry_after:
	into_c	ph_hook_after
	.size	ph_entry_after, . - ph_entry_after

	.type	ph_entry_ring, @function
	.balign	64
ph_entry_ring:
	into_c	ph_ring_call
	.size	ph_entry_ring, . - ph_entry_ring

	.type	ph_entry_made, @function
	.balign	64
ph_entry_made:
	into_c	ph_trap_made
	.size	ph_entry_made, . - ph_entry_made

	.type	ph_entry_forked, @function
	.balign	64
ph_entry_forked:
	into_c	ph_trap_forked
	.size	ph_entry_forked, . - ph_entry_forked

/* The number stays on the stack: a call that a signal has ended may be made once more (signals.c). */
	.globl	ph_syscall, ph_syscall_made, ph_syscall_once_more
	.hidden	ph_syscall, ph_syscall_made, ph_syscall_once_more
	.type	ph_syscall, @function
	.balign	16
ph_syscall:
	.cfi_startproc
	push	%rdi
	.cfi_adjust_cfa_offset 8
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %r10
	mov	%r9, %r8
	mov	16(%rsp), %r9
1:	syscall
ph_syscall_made:
	lea	8(%rsp), %rsp
	.cfi_adjust_cfa_offset -8
	ret
	.cfi_adjust_cfa_offset 8
ph_syscall_once_more:
	mov	(%rsp), %rax
	jmp	1b
	.cfi_endproc
	.size	ph_syscall, . - ph_syscall

/* int64_t ph_copy(void *to, const void *from, size_t n): 0, or -EFAULT by way of the fault handler, which moves an ip
 * between ph_copy and ph_copy_end to ph_copy_fault. Small copies, which are most, by words: `rep movsb` takes longer to
 * start than they last. Uses rax, rcx, rdx, rsi, rdi. */
	.globl	ph_copy, ph_copy_end, ph_copy_fault
	.hidden	ph_copy, ph_copy_end, ph_copy_fault
	.type	ph_copy, @function
	.balign	16
ph_copy:
	.cfi_startproc
	cmp	$256, %rdx
	ja	4f
	cmp	$8, %rdx
	jb	2f
	mov	-8(%rsi,%rdx), %rcx	/* the last word, which overlaps the one before */
	mov	%rcx, -8(%rdi,%rdx)
1:	mov	(%rsi), %rcx
	mov	%rcx, (%rdi)
	add	$8, %rsi
	add	$8, %rdi
	sub	$8, %rdx
	cmp	$8, %rdx
	ja	1b
	xor	%eax, %eax
	ret
2:	test	%rdx, %rdx
	jz	3f
	mov	(%rsi), %cl
	mov	%cl, (%rdi)
	inc	%rsi
	inc	%rdi
	dec	%rdx
	jmp	2b
3:	xor	%eax, %eax
	ret
4:	mov	%rdx, %rcx
	rep movsb
	xor	%eax, %eax
	ret
ph_copy_end:
ph_copy_fault:
	mov	$-14, %rax
	ret
	.cfi_endproc
	.size	ph_copy, . - ph_copy

/* Handlers of signals: rdi signal, rsi siginfo, rdx ucontext. The function says where to go on: NULL is back to the
 * interrupted code, else the program's handler, which finds registers and stack as the kernel gave them. The way back is not the
 * program's own, since that may be trapped while SIGSYS is held back. */
	.macro	handler function
	push	%rdi
	.cfi_adjust_cfa_offset 8
	push	%rsi
	.cfi_adjust_cfa_offset 8
	push	%rdx
	.cfi_adjust_cfa_offset 8
	call	\function
	pop	%rdx
	.cfi_adjust_cfa_offset -8
	pop	%rsi
	.cfi_adjust_cfa_offset -8
	pop	%rdi
	.cfi_adjust_cfa_offset -8
	test	%rax, %rax
	jz	1f
	mov	%rax, %rcx
	xor	%eax, %eax
	jmp	*%rcx
1:	lea	8(%rsp), %rsp
	mov	$15, %eax
	syscall
	.endm

	.globl	ph_fault_entry
	.hidden	ph_fault_entry
	.type	ph_fault_entry, @function
	.balign	16
ph_fault_entry:
	.cfi_startproc
	handler	ph_fault
	.cfi_endproc
	.size	ph_fault_entry, . - ph_fault_entry

/* What the kernel has for handlers of the program's (signals.c): ENTRIES of ENTRY_BYTES each. Those from ONCE on always go
 * through C; the others only while somebody holds the dispatcher's state firmly, bit 0 of the word at OWNER in it. */
	.set	ENTRIES, 128
	.set	ONCE, 96
	.set	OWNER, 24
	.globl	ph_signal_entries
	.hidden	ph_signal_entries, ph_signal_handlers, ph_region
	.type	ph_signal_entries, @function
	.balign	32
ph_signal_entries:
	.cfi_startproc
	.set	entry, 0
	.rept	ENTRIES
	.balign 32
	.if	entry < ONCE
	testb	$1, ph_region + OWNER(%rip)
	jnz	1f
	jmp	*ph_signal_handlers + entry * 8(%rip)
	.endif
1:	lea	ph_signal_handlers + entry * 8(%rip), %rcx
	jmp	signal_in_c
	.set	entry, entry + 1
	.endr
	.balign	32
signal_in_c:
	handler	ph_signal
	.cfi_endproc
	.size	ph_signal_entries, . - ph_signal_entries

	.globl	ph_restorer
	.hidden	ph_restorer
	.type	ph_restorer, @function
	.balign	16
ph_restorer:
	mov	$15, %rax
	syscall
	.size	ph_restorer, . - ph_restorer

/* Where the attacher lets one thread begin: rax a function, rdi its argument, a stack of ours. The signal tells it that
 * the function came back; rbx is what it returned. */
	.globl	ph_live_call
	.hidden	ph_live_call
	.type	ph_live_call, @function
	.balign	16
ph_live_call:
	call	*%rax
	mov	%rax, %rbx
	mov	$39, %eax		/* getpid */
	syscall
	mov	%rax, %r12
	mov	$186, %eax		/* gettid */
	syscall
	mov	%r12, %rdi
	mov	%rax, %rsi
	mov	$5, %edx		/* SIGTRAP */
	mov	$234, %eax		/* tgkill */
	syscall
	ud2
	.size	ph_live_call, . - ph_live_call

/* Stubs, written at start. To an unwinder each is a function called from right behind the instruction that it stands
 * for, with the stack pointer unchanged: the return address is the last word of the stub's 64 bytes,
 * *((ip & -64) + 56). So backtraces, C++ exceptions and thread cancellation pass through. */
	.section .stubs, "ax", @progbits
	.globl	ph_stubs
	.hidden	ph_stubs
	.type	ph_stubs, @object
	.balign	4096
ph_stubs:
	.cfi_startproc
	.cfi_def_cfa %rsp, 0
	/* DW_CFA_expression r16, 7 bytes: breg16 0, const1s -64, and, plus_uconst 56 */
	.cfi_escape 0x10, 16, 7, 0x80, 0, 0x09, 0xc0, 0x1a, 0x23, 56
	.fill	1280 * 64, 1, 0xcc
	.cfi_endproc
	.size	ph_stubs, . - ph_stubs
	.balign	4096, 0xcc

/* Stubs of trapped calls (trap.c), struct ph_stub each, complete as they are: LATE of them, and where each returns to in
 * as many words, 64 bytes apart like them; that half is data when calls are trapped. To unwinders as above, with the
 * return address at *((ip & -64) + LATE * 64). */
	.set	LATE, 1024
	.globl	ph_late, ph_late_made, ph_late_resume, ph_late_end
	.hidden	ph_late, ph_late_made, ph_late_resume, ph_late_end
	.type	ph_late, @object
	.balign	4096
ph_late:
	.cfi_startproc
	.cfi_def_cfa %rsp, 0
	/* DW_CFA_expression r16, 9 bytes: breg16 0, const1s -64, and, plus_uconst 65536 */
	.cfi_escape 0x10, 16, 9, 0x80, 0, 0x09, 0xc0, 0x1a, 0x23, 0x80, 0x80, 0x04
	.macro	late_stub
0:	lea	12f(%rip), %rcx
	jmp	ph_entry
12:	syscall
14:	jmp	*(0b + LATE * 64)(%rip)
20:	syscall				/* .fork_at */
	lea	14b(%rip), %rcx
	jmp	ph_entry_forked
34:	syscall				/* ph_late_made */
	lea	14b(%rip), %rcx
	jmp	ph_entry_made
	.fill	52 - (. - 0b), 1, 0xcc
	.byte	0, 0, 12b - 0b, 20b - 0b
	.quad	0
	.endm
	late_stub
	.set	ph_late_made, 34b
	.rept	LATE - 1
	late_stub
	.endr
	.cfi_endproc
ph_late_end:
	.size	ph_late, . - ph_late
	.type	ph_late_resume, @object
ph_late_resume:
	.fill	LATE * 64, 1, 0
	.size	ph_late_resume, . - ph_late_resume

	.section .note.GNU-stack, "", @progbits
