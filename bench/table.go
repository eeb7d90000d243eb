package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// table is the result in Markdown: ratios to the floor, and the medians.
func (r *result) table() string {
	lines := [][]string{append([]string{""}, r.Columns...)}
	for _, x := range r.Rows {
		line := []string{x.Name}
		for _, c := range r.Columns {
			line = append(line, r.cell(x, c))
		}
		lines = append(lines, line)
	}
	if r.Floor == "" && len(r.Rows) < len(r.Columns) {
		lines = transposed(lines)
	}
	return markdown(lines)
}

func (r *result) cell(x row, column string) string {
	v, ok := x.Values[column]
	switch {
	case !ok:
		return "-"
	case x.Name == r.Floor || r.Floor == "":
		return strings.TrimSpace(digits(v.Median) + " " + r.Unit)
	}
	return strings.TrimSpace(fmt.Sprintf("%s (%s %s", digits(v.Ratio), digits(v.Median), r.Unit)) + ")"
}

// digits prints three digits, as many as these figures are good for.
func digits(x float64) string {
	switch {
	case x >= 100:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x >= 10:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}

func transposed(lines [][]string) [][]string {
	t := make([][]string, len(lines[0]))
	for i := range t {
		for _, line := range lines {
			t[i] = append(t[i], line[i])
		}
	}
	return t
}

func markdown(lines [][]string) string {
	var b strings.Builder
	for i, line := range lines {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(line)) + "|\n")
		}
	}
	return b.String()
}

// series is suites that differ in the number of dirty pages, as one table.
type series struct {
	prefix, column, title string
	sizes                 []int
}

var allSeries = map[string]series{
	"durable": {"durable-", "commit", "until D random pages of 16384 are durable", dirtySizes},
	"settled": {"durable-", "settled", "until work behind the commit is done as well", dirtySizes},
	"steady":  {"steady-", "each", "20 commits of D pages, one behind the other, each", []int{1, 16, 256}},
}

// rows returns the rows of the suites that were measured.
func (s series) rows(all results) (names []string, sizes []int) {
	for _, d := range s.sizes {
		r := all[s.prefix+strconv.Itoa(d)]
		if r == nil {
			continue
		}
		sizes = append(sizes, d)
		if names == nil {
			for _, x := range r.Rows {
				names = append(names, x.Name)
			}
		}
	}
	return names, sizes
}

func (s series) value(all results, name string, d int) (*result, stat) {
	r := all[s.prefix+strconv.Itoa(d)]
	x, _ := r.row(name)
	return r, x.Values[s.column]
}

func (s series) table(all results) string {
	names, sizes := s.rows(all)
	head := []string{"D ="}
	for _, d := range sizes {
		head = append(head, strconv.Itoa(d))
	}
	lines := [][]string{head}
	for _, name := range names {
		line := []string{name}
		for _, d := range sizes {
			r, v := s.value(all, name, d)
			if name == r.Floor {
				line = append(line, digits(v.Median)+" "+r.Unit)
			} else {
				line = append(line, digits(v.Ratio))
			}
		}
		lines = append(lines, line)
	}
	return markdown(lines)
}

var markers = regexp.MustCompile(`(?s)<!-- bench:(\S+) -->\n.*?<!-- /bench -->`)

// document renews the tables between the markers of a Markdown file: those
// that were measured.
func (all results) document(name string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	text := markers.ReplaceAllStringFunc(string(b), func(old string) string {
		key := markers.FindStringSubmatch(old)[1]
		table := all.section(key)
		if table == "" {
			return old
		}
		return fmt.Sprintf("<!-- bench:%s -->\n%s<!-- /bench -->", key, table)
	})
	return os.WriteFile(name, []byte(text), 0o644)
}

// section is the table called key with how it was measured, "" if it was not.
func (all results) section(key string) string {
	if key == "durability" {
		return durability()
	}
	if s, ok := allSeries[key]; ok {
		_, sizes := s.rows(all)
		if len(sizes) == 0 {
			return ""
		}
		return s.table(all) + all[s.prefix+strconv.Itoa(sizes[0])].origin()
	}
	r := all[key]
	if r == nil {
		return ""
	}
	return r.Note + "\n\n" + r.table() + r.origin()
}

func (r *result) origin() string {
	return fmt.Sprintf("\n%s, %s, medians of %d rounds.\n", r.Date, r.Machine, r.Rounds)
}

// durability says what each contender has synced when a commit returns.
func durability() string {
	lines := [][]string{{"", "durable when it returns, by"}}
	for _, k := range peers() {
		lines = append(lines, []string{k.Name, k.Durability})
	}
	return markdown(lines)
}
