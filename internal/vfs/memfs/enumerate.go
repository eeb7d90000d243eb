package memfs

import "iter"

// All yields one function for Crash.Decide after the other, until together
// they have given every combination of answers but Garbage. Each is for one
// CrashClone of the same file system; their number is the product of all
// Versions, so this is for small cases.
func All() iter.Seq[func(Choice) int] {
	return func(yield func(func(Choice) int) bool) {
		// A number whose digits are the answers, the last question first.
		var answers, versions []int
		for {
			asked := 0
			decide := func(c Choice) int {
				if asked == len(answers) {
					answers, versions = append(answers, 0), append(versions, c.Versions)
				}
				asked++
				return answers[asked-1]
			}
			if !yield(decide) {
				return
			}
			last := len(answers) - 1
			for last >= 0 && answers[last] == versions[last]-1 {
				last--
			}
			if last < 0 {
				return
			}
			answers, versions = answers[:last+1], versions[:last+1]
			answers[last]++
		}
	}
}
