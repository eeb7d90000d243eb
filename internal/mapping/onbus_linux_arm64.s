#include "textflag.h"

#define BUS_ADRERR   2
#define SYS_MMAP     222
#define PROT_READ    1
#define MAP_ANEW     0x32         // MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS

// onBus is the SIGBUS handler. It makes no call and uses no stack: it runs on
// a thread in any state, with every signal blocked. Where a page of the window
// has lost its file it maps a page of zeros over it, and the access is tried
// again. Two threads may do so at once. g and the link register, which leads
// to the signal's return, are never touched; SVC changes only R0.
//
//	R12  signal number     R13  siginfo      R14  ucontext
//	R9   page of the address
TEXT ·onBus(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVD R0, R12
	MOVD R1, R13
	MOVD R2, R14

	// Only memory that is not there is ours. A signal sent by kill and
	// memory that went bad have other codes.
	MOVW 8(R13), R3
	CMPW $BUS_ADRERR, R3
	BNE  forward
	MOVD 16(R13), R9
	MOVD ·windowPage(SB), R1
	NEG  R1, R3
	AND  R3, R9, R9
	MOVD ·windowBase(SB), R3
	SUB  R3, R9, R4
	MOVD ·windowSize(SB), R5
	CMP  R5, R4
	BHS  forward

	MOVD R9, R0
	MOVD $PROT_READ, R2
	MOVD $MAP_ANEW, R3
	MOVD $-1, R4
	MOVD $0, R5
	MOVD $SYS_MMAP, R8
	SVC
	CMP  R9, R0
	BNE  forward
	RET

forward:
	MOVD R12, R0
	MOVD R13, R1
	MOVD R14, R2
	MOVD ·nextBusHandler(SB), R3
	JMP  (R3)

// func onBusPC() uintptr
TEXT ·onBusPC(SB), NOSPLIT, $0-8
	MOVD $·onBus(SB), R0
	MOVD R0, ret+0(FP)
	RET
