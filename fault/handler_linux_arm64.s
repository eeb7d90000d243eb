#include "go_asm.h"
#include "textflag.h"
#include "guard_arm64.h"

#define SEGV_ACCERR   2
#define SYS_MPROTECT  226
#define PROT_NONE     0
#define PROT_RW       3
#define ENOMEM        12
#define UCONTEXT_PC   440

// The registers of the handler. Those that the kernel passed are kept for the
// handler in front of which this one stands; SVC changes only R0. g and the
// link register, which leads to the signal's return, are never touched.
//
//	R12  signal number     R13  siginfo      R14  ucontext
//	R5   slot              R10  address, then offset of the page in the arena
//	R11  page number       R15  new guard: page number, then offset
//	R9   base              R19  a field's address

// PROTECT is mprotect(base+off, n, prot), with registers for off and n. The
// result is in R0.
#define PROTECT(off, n, prot) \
	ADD  off, R9, R0             \
	MOVD n, R1                   \
	MOVD $prot, R2               \
	MOVD $SYS_MPROTECT, R8       \
	SVC

// LOAD is an acquiring load of a field of the slot.
#define LOAD(field, to) \
	ADD  $field, R5, R19         \
	LDAR (R19), to

// COUNT adds one to a field of the slot.
#define COUNT(field) \
	ADD   $field, R5, R19        \
	LDAXR (R19), R3              \
	ADD   $1, R3                 \
	STLXR R3, (R19), R4          \
	CBNZ  R4, -3(PC)

// SETBIT sets bit n of the words at R3.
#define SETBIT(n) \
	LSR   $6, n, R4              \
	ADD   R4<<3, R3, R3          \
	MOVD  $1, R4                 \
	LSL   n, R4, R4              \
	LDAXR (R3), R6               \
	ORR   R4, R6, R6             \
	STLXR R6, (R3), R7           \
	CBNZ  R7, -3(PC)

// onFault is the SIGSEGV handler. It makes no call and uses no stack: it runs
// on a thread in any state, with every signal blocked, and may touch only the
// slots and the bitmaps.
TEXT ·onFault(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVD R0, R12
	MOVD R1, R13
	MOVD R2, R14

	// Only a page that refused an access is ours. A signal sent by kill and
	// an address without a mapping have other codes.
	MOVW 8(R1), R3
	CMPW $SEGV_ACCERR, R3
	BNE  forward
	MOVD 16(R1), R10

	MOVD $·slots(SB), R5
	MOVD $const_maxArenas, R6
scan:
	LOAD(slot_end, R7)
	CMP  R7, R10
	BHS  next
	LOAD(slot_base, R9)
	CMP  R9, R10
	BLO  next
	// Both words are of one arena only if the end stayed: publish stores it
	// last and withdraw first.
	LOAD(slot_end, R8)
	CMP  R7, R8
	BEQ  found
next:
	ADD  $slot__size, R5
	SUB  $1, R6
	CBNZ R6, scan

forward:
	MOVD R12, R0
	MOVD R13, R1
	MOVD R14, R2
	MOVD ·goHandler(SB), R3
	JMP  (R3)

found:
	// Code that runs in the arena is a wild jump: opening the page would not
	// make it executable, and the fault would come back for ever.
	MOVD UCONTEXT_PC(R2), R8
	CMP  R9, R8
	BLO  access
	CMP  R7, R8
	BLO  forward
access:
	// The page is computed on the offset: the base is not page-aligned.
	SUB  R9, R10, R10
	AND  $~(const_PageSize-1), R10, R10
	LSR  $14, R10, R11

top:
	LOAD(slot_guard, R3)
	CMP  R11, R3
	BNE  plain
	LOAD(slot_low, R3)
	LOAD(slot_high, R4)
	// Both are of one announcement, or of two in the order that SetWatermarks
	// keeps: never low above high.
	LOAD(slot_low, R6)
	CMP  R3, R6
	BNE  top
	NEXT_GUARD(forward)
	MOVD R3, R15
	ADD  $slot_guard, R5, R19
claim:
	LDAXR (R19), R3
	CMP  R11, R3
	BNE  top                      // another thread moved it
	STLXR R15, (R19), R4
	CBNZ R4, claim
	COUNT(slot_moves)
	LSL  $14, R15, R15
	MOVD $const_PageSize, R3
	PROTECT(R15, R3, PROT_NONE)
	CBNZ R0, refused

	// The page that stops being the guard goes on as any other.
plain:
	// The bit comes before the protection, and the protection is changed even
	// if the bit was set: the thread that set it may not have come that far.
	MOVD slot_bits(R5), R3
	CBZ  R3, unlock
	SETBIT(R11)
	MOVD slot_summary(R5), R3
	LSR  $6, R11, R20
	SETBIT(R20)
unlock:
	MOVD $const_PageSize, R3
	PROTECT(R10, R3, PROT_RW)
	CBNZ R0, refused
	// If the guard was moved to this page meanwhile, it is open now.
	LOAD(slot_guard, R3)
	CMP  R11, R3
	BNE  done
	MOVD $const_PageSize, R3
	PROTECT(R10, R3, PROT_NONE)
	CBNZ R0, refused
done:
	COUNT(slot_faults)
	RET

refused:
	CMN  $ENOMEM, R0              // no memory area left to split
	BNE  forward
	COUNT(slot_overflows)
	// The flag comes first: from here on stores go unseen.
	MOVD $1, R3
	ADD  $slot_overflow, R5, R19
	STLR R3, (R19)
opened:
	LOAD(slot_end, R6)
	SUB  R9, R6, R6
	LOAD(slot_guard, R15)
	TBNZ $63, R15, all
	// Around a closed guard page this splits nothing, and so is not refused.
	LSL  $14, R15, R15
	ADD  $const_PageSize, R15, R3
	SUB  R3, R6, R4
	PROTECT(R3, R4, PROT_RW)
	CBNZ R0, all
	PROTECT(ZR, R15, PROT_RW)
	CBZ  R0, close
all:
	// The guard is not closed yet, or there is none.
	PROTECT(ZR, R6, PROT_RW)
	CBNZ R0, forward
close:
	LOAD(slot_guard, R15)
	TBNZ $63, R15, plain
	LSL  $14, R15, R4
	MOVD $const_PageSize, R3
	PROTECT(R4, R3, PROT_NONE)
	CBNZ R0, forward
	LOAD(slot_guard, R3)
	CMP  R15, R3
	BNE  opened                   // moved meanwhile, into what is open now
	JMP  plain

// func onFaultPC() uintptr
TEXT ·onFaultPC(SB), NOSPLIT, $0-8
	MOVD $·onFault(SB), R0
	MOVD R0, ret+0(FP)
	RET

// func nextGuard(low, high, current int) int
TEXT ·nextGuard(SB), NOSPLIT, $0-32
	MOVD low+0(FP), R3
	MOVD high+8(FP), R4
	MOVD current+16(FP), R11
	NEXT_GUARD(none)
	MOVD R3, ret+24(FP)
	RET
none:
	MOVD $-1, R3
	MOVD R3, ret+24(FP)
	RET
