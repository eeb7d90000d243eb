// NEXT_GUARD is guard.Next: low in AX, high in CX, the present guard page in
// R10; the next page in AX. Jumps to none if there is no next page. CX is lost.
#define NEXT_GUARD(none) \
	ADDQ $(const_PageSize-1), AX \
	SARQ $14, AX                 \
	SARQ $14, CX                 \
	SUBQ AX, CX                  \
	CMPQ CX, $2                  \
	JLT  none                    \
	SARQ $1, CX                  \
	ADDQ CX, AX                  \
	CMPQ AX, R10                 \
	JEQ  none
