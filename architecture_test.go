package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

const architecture = "ARCHITECTURE.md"

// designPages returns the texts of ARCHITECTURE.md, of the pages in docs/design, of docs/outage.md
// and of docs/redis.md, by path.
func designPages(t *testing.T) (texts map[string]string) {
	t.Helper()
	names, err := filepath.Glob("docs/design/*.md")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d pages under docs/design: %v", len(names), err)
	}
	texts = map[string]string{}
	for _, name := range append(names, architecture, "docs/outage.md", "docs/redis.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	return texts
}

// TestArchitectureIsAMap bounds the number of words in ARCHITECTURE.md, and the width of all design
// pages.
func TestArchitectureIsAMap(t *testing.T) {
	const words, columns = 2500, 100
	pages := designPages(t)
	if n := len(strings.Fields(pages[architecture])); n > words {
		t.Errorf("%s has %d words, at most %d: details have pages under docs/design", architecture, n, words)
	}
	for page, text := range pages {
		for i, line := range strings.Split(text, "\n") {
			if n := utf8.RuneCountInString(line); n > columns {
				t.Errorf("%s:%d has %d columns, at most %d", page, i+1, n, columns)
			}
		}
	}
}

// declared maps the names that a package declares to their kinds. These are the names of functions,
// types, methods and fields. Names of methods have the form Type.method, and names of fields have
// the form Type.field.
type declared map[string]kind

type kind uint8

const (
	function kind = iota
	typeName
	field
)

// declarations returns what each of our packages declares, by the package's directory. It leaves
// out tests, and includes the files for every operating system.
func declarations(t *testing.T) (packages map[string]declared) {
	t.Helper()
	packages = map[string]declared{}
	err := filepath.WalkDir(".", func(file string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := path.Dir(filepath.ToSlash(file))
		if packages[dir] == nil {
			packages[dir] = declared{}
		}
		for _, d := range parsed.Decls {
			packages[dir].add(d)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

func (names declared) add(d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		name := d.Name.Name
		if d.Recv != nil {
			name = receiver(d.Recv.List[0].Type) + "." + name
		}
		names[name] = function
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if spec, ok := spec.(*ast.TypeSpec); ok {
				names.addType(spec)
			}
		}
	}
}

func (names declared) addType(spec *ast.TypeSpec) {
	names[spec.Name.Name] = typeName
	switch of := spec.Type.(type) {
	case *ast.StructType:
		for _, f := range of.Fields.List {
			for _, name := range f.Names {
				names[spec.Name.Name+"."+name.Name] = field
			}
		}
	case *ast.InterfaceType:
		for _, m := range of.Methods.List {
			for _, name := range m.Names {
				names[spec.Name.Name+"."+name.Name] = function
			}
		}
	}
}

// receiver returns the name of the type in a method's receiver. It returns "" if the type has two
// or more type parameters.
func receiver(of ast.Expr) string {
	switch of := of.(type) {
	case *ast.StarExpr:
		return receiver(of.X)
	case *ast.IndexExpr:
		return receiver(of.X)
	case *ast.Ident:
		return of.Name
	}
	return ""
}

// The function section returns the text of a page under a heading, up to the next heading of the
// second level. If there is no such heading, it fails the test.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, "\n"+heading+"\n")
	if !found {
		t.Fatalf("there is no %q", heading)
	}
	under, _, _ := strings.Cut(rest, "\n## ")
	return under
}

// The function rows returns the rows of the tables in a text. A row is a list of its cells. Header
// rows are left out.
func rows(text string) (table [][]string) {
	head := true
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case !strings.HasPrefix(line, "|"):
			head = true
		case strings.HasPrefix(line, "|---"):
			head = false
		case !head:
			table = append(table, strings.Split(strings.Trim(line, "| "), " | "))
		}
	}
	return table
}

var quoted = regexp.MustCompile("`([^`]+)`")

// TestTheWaysNameFunctionsThatThereAre checks two sections of ARCHITECTURE.md, the way of a message
// and the way of a join. Each function and each script that they name must exist.
func TestTheWaysNameFunctionsThatThereAre(t *testing.T) {
	packages := declarations(t)
	text := designPages(t)[architecture]
	for heading, least := range map[string]int{"## The way of one group message": 50, "## The way of one join": 25} {
		found := 0
		for _, row := range rows(section(t, text, heading)) {
			cells := row[len(row)-2:]
			dir := strings.Trim(cells[0], "`| ")
			for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
				name := m[1]
				if strings.HasSuffix(name, ".lua") {
					if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
						t.Errorf("%s: %v", heading, err)
					}
					continue
				}
				found++
				if is, known := packages[dir][name]; !known || is != function {
					t.Errorf("%s names %s in %q, where there is no such function", heading, name, dir)
				}
			}
		}
		if found < least {
			t.Errorf("%s: only %d functions were found, not %d: the pattern is wrong", heading, found, least)
		}
	}
}

// TestTheGlossaryNamesCodeThatThereIs checks that the glossary gives code for each word, and that
// this code is a type, a field or a package.
func TestTheGlossaryNamesCodeThatThereIs(t *testing.T) {
	known := byPackage(declarations(t))
	found := 0
	for _, row := range rows(section(t, designPages(t)[architecture], "## Words")) {
		names := quoted.FindAllStringSubmatch(row[1], -1)
		if found++; len(names) == 0 {
			t.Errorf("%s has no place in code", row[0])
		}
		for _, m := range names {
			if is, there := known[m[1]]; !there || is == function {
				t.Errorf("%s is said to be %s, which is no type, field or package", row[0], m[1])
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d words: the pattern is wrong", found)
	}
}

// TestTheMapHasEachPackage checks the section on packages in ARCHITECTURE.md. The section must name
// each package of mayImport, except the package at the root.
func TestTheMapHasEachPackage(t *testing.T) {
	there := section(t, designPages(t)[architecture], "## Packages")
	for dir := range mayImport {
		if dir != "" && !strings.Contains(there, "`"+dir+"`") {
			t.Errorf("%s is not in the table", dir)
		}
	}
}

// byPackage lists the declared names of all packages. Each name is in the list twice: alone, and
// behind its package's name, as in "gateway.Hub". The packages' own names are in the list too, with
// the kind typeName. A package's own name is the last element of its path.
func byPackage(packages map[string]declared) declared {
	all := declared{}
	for dir, names := range packages {
		base := path.Base(dir)
		all[base] = typeName
		for name, is := range names {
			all[base+"."+name] = is
			all[name] = is
		}
	}
	return all
}

var (
	// dotted matches a name with a dot, such as gateway.Hub or feed.go.
	dotted  = regexp.MustCompile(`[\w/.*…-]*[A-Za-z]\w*\.[A-Za-z]\w*`)
	fetched = regexp.MustCompile(`\]\([^)]*\)`)
	isFile  = regexp.MustCompile(`\.(go|md|lua|txt)$`)
)

// TestDesignPagesNameCodeThatThereIs looks in the design pages for names with a dot. Each must be a
// file's name, or a declaration's name in the form Type.name or package.name. Patterns that contain
// * or … are skipped.
func TestDesignPagesNameCodeThatThereIs(t *testing.T) {
	known := byPackage(declarations(t))
	files := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d os.DirEntry, err error) error {
		for name := filepath.ToSlash(file); err == nil && !d.IsDir(); {
			files[name] = true
			_, after, more := strings.Cut(name, "/")
			if name = after; !more {
				break
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for page, text := range designPages(t) {
		for _, name := range dotted.FindAllString(fetched.ReplaceAllString(text, "]"), -1) {
			switch found++; {
			case strings.ContainsAny(name, "*…"): // a pattern for several names
			case isFile.MatchString(name):
				if !files[name] {
					t.Errorf("%s names %s, which is no file", page, name)
				}
			default:
				if _, there := known[name]; !there {
					t.Errorf("%s names %s, which is not in the code", page, name)
				}
			}
		}
	}
	if found < 200 {
		t.Errorf("only %d names of code: the pattern is wrong", found)
	}
}

// TestDesignPagesLinkToHeadingsThatThereAre checks that relative links with an anchor lead to
// headings. It checks the pages that the function papers returns.
func TestDesignPagesLinkToHeadingsThatThereAre(t *testing.T) {
	found := 0
	for page, text := range papers(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)#: ]*)#([^) ]+)\)`).FindAllStringSubmatch(text, -1) {
			found++
			target := page
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(page), m[1])
			}
			other, err := os.ReadFile(target)
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if !anchors(string(other))[m[2]] {
				t.Errorf("%s links to %s#%s, and there is no such heading", page, target, m[2])
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d links with anchors: the pattern is wrong", found)
	}
}

// anchors returns the anchors of a page's headings. Sites such as GitHub make the same anchors,
// with one exception. If several headings have the same text, they share one anchor here, and such
// sites add numbers to their anchors.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		all[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])] = true
	}
	return all
}
