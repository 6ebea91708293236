/* int64_t ph_guarded(struct ph_k *k, struct ph_state *f, const void *a, ph_handler run): run(k, f, a), or PH_FAULTED
 * when a fault happens in it. What is needed to come back here lies on the stack, under a word that says where it lies
 * itself, so that ph_guard_recover finds it from the fault's stack pointer without a word to any thread's name. */
	.section .text.hot, "ax", @progbits
	.globl	ph_guarded, ph_guarded_fault
	.hidden	ph_guarded, ph_guarded_fault
	.type	ph_guarded, @function
	.balign	16
ph_guarded:
	.cfi_startproc
	push	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	push	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	push	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r12, 0
	push	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r13, 0
	push	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r14, 0
	push	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r15, 0
	mov	ph_guard_word(%rip), %rax
	xor	%rsp, %rax
	push	%rax
	.cfi_adjust_cfa_offset 8
	call	*%rcx
1:	movq	$0, (%rsp)		/* a stale one must not be found */
	add	$8, %rsp
	.cfi_adjust_cfa_offset -8
	pop	%r15
	.cfi_adjust_cfa_offset -8
	pop	%r14
	.cfi_adjust_cfa_offset -8
	pop	%r13
	.cfi_adjust_cfa_offset -8
	pop	%r12
	.cfi_adjust_cfa_offset -8
	pop	%rbx
	.cfi_adjust_cfa_offset -8
	pop	%rbp
	.cfi_adjust_cfa_offset -8
	ret
	.cfi_adjust_cfa_offset 56
ph_guarded_fault:
	movabs	$-0x8000000000000000, %rax
	jmp	1b
	.cfi_endproc
	.size	ph_guarded, . - ph_guarded

	.section .rodata
	.balign	8
	.hidden	ph_guard_word
	.globl	ph_guard_word
ph_guard_word:
	.quad	0x9e3779b97f4a7c15

	.section .note.GNU-stack, "", @progbits
