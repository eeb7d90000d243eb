// NEXT_GUARD is guard.Next: low in R3, high in R4, the present guard page in
// R11; the next page in R3. Jumps to none if there is no next page. R4 is lost.
#define NEXT_GUARD(none) \
	ADD $(const_PageSize-1), R3, R3 \
	ASR $14, R3, R3                 \
	ASR $14, R4, R4                 \
	SUB R3, R4, R4                  \
	CMP $2, R4                      \
	BLT none                        \
	ASR $1, R4, R4                  \
	ADD R4, R3, R3                  \
	CMP R11, R3                     \
	BEQ none
