#include "go_asm.h"
#include "textflag.h"
#include "guard_amd64.h"

#define SEGV_ACCERR   2
#define SYS_MPROTECT  10
#define PROT_NONE     0
#define PROT_RW       3
#define UCONTEXT_RIP  168

// The registers of the handler. Those that the kernel passed are kept for the
// handler in front of which this one stands. SYSCALL leaves all of them alone,
// and takes RCX, R11 and RAX.
//
//	BX   signal number     R12  siginfo      R13  ucontext
//	R9   slot              R8   address, then offset of the page in the arena
//	R10  page number       R14  page number of a new guard

// PROTECT is mprotect(base+off, n, prot). off and n may be any operand but DI.
// The result is in AX, its flags set.
#define PROTECT(off, n, prot) \
	MOVQ off, DI                 \
	ADDQ slot_base(R9), DI       \
	MOVQ n, SI                   \
	MOVL $prot, DX               \
	MOVL $SYS_MPROTECT, AX       \
	SYSCALL                      \
	TESTQ AX, AX

// onFault is the SIGSEGV handler. It makes no call and uses no stack: it runs
// on a thread in any state, with every signal blocked, and may touch only the
// slots and the bitmaps.
TEXT ·onFault(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVQ DI, BX
	MOVQ SI, R12
	MOVQ DX, R13

	// Only a page that refused an access is ours. A signal sent by kill and
	// an address without a mapping have other codes.
	CMPL 8(SI), $SEGV_ACCERR
	JNE  forward
	MOVQ 16(SI), R8

	LEAQ ·slots(SB), R9
	LEAQ ·slots+(const_maxArenas*slot__size)(SB), R11
scan:
	MOVQ slot_end(R9), AX
	CMPQ R8, AX
	JAE  next
	MOVQ slot_base(R9), CX
	CMPQ R8, CX
	JB   next
	// Both words are of one arena only if the end stayed: publish stores it
	// last and withdraw first.
	CMPQ AX, slot_end(R9)
	JEQ  found
next:
	ADDQ $slot__size, R9
	CMPQ R9, R11
	JB   scan

forward:
	MOVQ BX, DI
	MOVQ R12, SI
	MOVQ R13, DX
	MOVQ ·goHandler(SB), AX
	JMP  AX

found:
	// Code that runs in the arena is a wild jump: opening the page would not
	// make it executable, and the fault would come back for ever.
	MOVQ UCONTEXT_RIP(DX), DI
	CMPQ DI, CX
	JB   access
	CMPQ DI, AX
	JB   forward
access:
	// The page is computed on the offset: the base is not page-aligned.
	SUBQ CX, R8
	ANDQ $~(const_PageSize-1), R8
	MOVQ R8, R10
	SHRQ $14, R10

top:
	CMPQ R10, slot_guard(R9)
	JNE  plain
	MOVQ slot_low(R9), AX
	MOVQ slot_high(R9), CX
	// Both are of one announcement, or of two in the order that SetWatermarks
	// keeps: never low above high.
	CMPQ AX, slot_low(R9)
	JNE  top
	NEXT_GUARD(forward)
	MOVQ AX, R14
	MOVQ R10, AX
	LOCK
	CMPXCHGQ R14, slot_guard(R9)
	JNE  top                      // another thread moved it
	LOCK
	INCQ slot_moves(R9)
	SHLQ $14, R14
	PROTECT(R14, $const_PageSize, PROT_NONE)
	JNE  refused

	// The page that stops being the guard goes on as any other.
plain:
	// The bit comes before the protection, and the protection is changed even
	// if the bit was set: the thread that set it may not have come that far.
	MOVQ slot_bits(R9), AX
	TESTQ AX, AX
	JEQ  unlock
	LOCK
	BTSQ R10, (AX)
	MOVQ slot_summary(R9), AX
	MOVQ R10, CX
	SHRQ $6, CX
	LOCK
	BTSQ CX, (AX)
unlock:
	PROTECT(R8, $const_PageSize, PROT_RW)
	JNE  refused
	// If the guard was moved to this page meanwhile, it is open now.
	CMPQ R10, slot_guard(R9)
	JNE  done
	PROTECT(R8, $const_PageSize, PROT_NONE)
	JNE  refused
done:
	LOCK
	INCQ slot_faults(R9)
	RET

refused:
	CMPQ AX, $-12                 // ENOMEM: no memory area left to split
	JNE  forward
	LOCK
	INCQ slot_overflows(R9)
	// The flag comes first: from here on stores go unseen.
	MOVQ $1, slot_overflow(R9)
opened:
	MOVQ slot_guard(R9), R14
	TESTQ R14, R14
	JLT  all
	// Around a closed guard page this splits nothing, and so is not refused.
	SHLQ $14, R14
	LEAQ const_PageSize(R14), AX
	MOVQ slot_end(R9), CX
	SUBQ slot_base(R9), CX
	SUBQ AX, CX
	PROTECT(AX, CX, PROT_RW)
	JNE  all
	PROTECT($0, R14, PROT_RW)
	JEQ  close
all:
	// The guard is not closed yet, or there is none.
	MOVQ slot_end(R9), CX
	SUBQ slot_base(R9), CX
	PROTECT($0, CX, PROT_RW)
	JNE  forward
close:
	MOVQ slot_guard(R9), R14
	TESTQ R14, R14
	JLT  plain
	MOVQ R14, AX
	SHLQ $14, AX
	PROTECT(AX, $const_PageSize, PROT_NONE)
	JNE  forward
	CMPQ R14, slot_guard(R9)
	JNE  opened                   // moved meanwhile, into what is open now
	JMP  plain

// func onFaultPC() uintptr
TEXT ·onFaultPC(SB), NOSPLIT, $0-8
	LEAQ ·onFault(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func nextGuard(low, high, current int) int
TEXT ·nextGuard(SB), NOSPLIT, $0-32
	MOVQ low+0(FP), AX
	MOVQ high+8(FP), CX
	MOVQ current+16(FP), R10
	NEXT_GUARD(none)
	MOVQ AX, ret+24(FP)
	RET
none:
	MOVQ $-1, ret+24(FP)
	RET
