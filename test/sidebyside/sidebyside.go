// Package sidebyside sets how many tests of a package run at once, whatever the number of cores. It
// is for packages whose tests mostly wait.
package sidebyside

import (
	"flag"
	"strconv"
)

// Run sets the number of parallel tests to n, unless the flag -parallel is set. A package's
// TestMain calls it.
func Run(n int) {
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if !said {
		flag.Set("test.parallel", strconv.Itoa(n)) // cannot fail: package testing defines the flag
	}
}
