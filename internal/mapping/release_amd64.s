//go:build !race

#include "textflag.h"

// func releaseUint64(p *uint64, x uint64)
TEXT ·releaseUint64(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), AX
	MOVQ x+8(FP), CX
	MOVQ CX, (AX)
	RET

// func releaseUint16(p *uint16, x uint16)
TEXT ·releaseUint16(SB), NOSPLIT, $0-10
	MOVQ p+0(FP), AX
	MOVW x+8(FP), CX
	MOVW CX, (AX)
	RET
