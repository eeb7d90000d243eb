//go:build !race

#include "textflag.h"

// func releaseUint64(p *uint64, x uint64)
TEXT ·releaseUint64(SB), NOSPLIT, $0-16
	MOVD p+0(FP), R0
	MOVD x+8(FP), R1
	STLR R1, (R0)
	RET

// func releaseUint16(p *uint16, x uint16)
TEXT ·releaseUint16(SB), NOSPLIT, $0-10
	MOVD  p+0(FP), R0
	MOVHU x+8(FP), R1
	STLRH R1, (R0)
	RET
