package command

// incomplete reports whether source, typed so far at the prompt, obviously goes
// on: a bracket, a template or a comment is still open. It judges by tokens
// alone, so what it can not tell it leaves to the compiler.
func incomplete(source string) bool {
	s := scanner{src: source}
	for s.pos < len(s.src) {
		s.token()
	}
	return s.open || len(s.brackets) > 0
}

// scanner splits JavaScript into the tokens that matter for brackets.
type scanner struct {
	src      string
	pos      int
	brackets []byte // open ones, innermost last; '`' is a template's ${
	operand  bool   // the last token ended an operand: a / now divides
	open     bool   // the source ends inside a template or a comment
}

func (s *scanner) token() {
	c := s.src[s.pos]
	switch {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		s.pos++
	case c == '/' && s.at(1) == '/':
		s.until('\n')
	case c == '/' && s.at(1) == '*':
		s.comment()
	case c == '/' && !s.operand:
		s.regexp()
	case c == '\'' || c == '"':
		s.quoted(c)
	case c == '`':
		s.pos++
		s.template()
	case c == '(' || c == '[' || c == '{':
		s.brackets, s.operand = append(s.brackets, c), false
		s.pos++
	case c == ')' || c == ']' || c == '}':
		s.close()
	case isWord(c):
		s.word()
	default:
		s.operand = false
		s.pos++
	}
}

func (s *scanner) at(i int) byte {
	if s.pos+i < len(s.src) {
		return s.src[s.pos+i]
	}
	return 0
}

func (s *scanner) until(end byte) {
	for s.pos < len(s.src) && s.src[s.pos] != end {
		s.pos++
	}
}

func (s *scanner) comment() {
	for s.pos += 2; s.pos < len(s.src); s.pos++ {
		if s.at(0) == '*' && s.at(1) == '/' {
			s.pos += 2
			return
		}
	}
	s.open = true
}

// quoted skips a string. One without an end is an error, which more lines would
// not mend, unless its last line ends in a backslash.
func (s *scanner) quoted(quote byte) {
	for s.pos++; s.pos < len(s.src); s.pos++ {
		switch s.src[s.pos] {
		case '\\':
			s.pos++
			if s.pos >= len(s.src)-1 {
				s.open = true
			}
		case quote, '\n':
			s.pos++
			s.operand = true
			return
		}
	}
}

func (s *scanner) regexp() {
	class := false
	for s.pos++; s.pos < len(s.src); s.pos++ {
		switch c := s.src[s.pos]; {
		case c == '\\':
			s.pos++
		case c == '[':
			class = true
		case c == ']':
			class = false
		case c == '\n', c == '/' && !class:
			s.pos++
			s.operand = true
			return
		}
	}
}

// template skips the text of a template up to its end or its next ${.
func (s *scanner) template() {
	for ; s.pos < len(s.src); s.pos++ {
		switch {
		case s.src[s.pos] == '\\':
			s.pos++
		case s.src[s.pos] == '`':
			s.pos++
			s.operand = true
			return
		case s.src[s.pos] == '$' && s.at(1) == '{':
			s.pos += 2
			s.brackets, s.operand = append(s.brackets, '`'), false
			return
		}
	}
	s.open = true
}

// close takes the innermost bracket off. One too many is the compiler's matter.
func (s *scanner) close() {
	c := s.src[s.pos]
	s.pos++
	s.operand = c != '}' // a / behind a block begins a regular expression
	if n := len(s.brackets); n > 0 {
		innermost := s.brackets[n-1]
		s.brackets = s.brackets[:n-1]
		if innermost == '`' && c == '}' {
			s.template()
		}
	}
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// word skips a name, number or keyword. After these keywords an operand begins.
func (s *scanner) word() {
	start := s.pos
	for s.pos < len(s.src) && isWord(s.src[s.pos]) {
		s.pos++
	}
	switch s.src[start:s.pos] {
	case "return", "typeof", "case", "in", "of", "delete", "void", "throw", "new", "do", "else", "instanceof", "yield", "await":
		s.operand = false
	default:
		s.operand = true
	}
}
