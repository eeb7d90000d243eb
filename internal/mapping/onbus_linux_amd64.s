#include "textflag.h"

#define BUS_ADRERR   2
#define SYS_MMAP     9
#define PROT_READ    1
#define MAP_ANEW     0x32         // MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS

// onBus is the SIGBUS handler. It makes no call and uses no stack: it runs on
// a thread in any state, with every signal blocked. Where a page of the window
// has lost its file it maps a page of zeros over it, and the access is tried
// again. Two threads may do so at once.
//
//	BX   signal number     R12  siginfo      R13  ucontext
TEXT ·onBus(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVQ DI, BX
	MOVQ SI, R12
	MOVQ DX, R13

	// Only memory that is not there is ours. A signal sent by kill and
	// memory that went bad have other codes.
	CMPL 8(SI), $BUS_ADRERR
	JNE  forward
	MOVQ ·windowPage(SB), SI
	MOVQ SI, DI
	NEGQ DI
	ANDQ 16(R12), DI              // the page of the address
	MOVQ DI, AX
	SUBQ ·windowBase(SB), AX
	CMPQ AX, ·windowSize(SB)
	JAE  forward

	MOVL $PROT_READ, DX
	MOVL $MAP_ANEW, R10
	MOVQ $-1, R8
	XORL R9, R9
	MOVL $SYS_MMAP, AX
	SYSCALL
	CMPQ AX, DI
	JNE  forward
	RET

forward:
	MOVQ BX, DI
	MOVQ R12, SI
	MOVQ R13, DX
	MOVQ ·nextBusHandler(SB), AX
	JMP  AX

// func onBusPC() uintptr
TEXT ·onBusPC(SB), NOSPLIT, $0-8
	LEAQ ·onBus(SB), AX
	MOVQ AX, ret+0(FP)
	RET
