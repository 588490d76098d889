package logtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestClausesStandInTheContract compares each sentence that a case can quote with the comments
// of package eventlog.
func TestClausesStandInTheContract(t *testing.T) {
	t.Parallel()
	comments := make(map[string]string)
	for _, file := range []string{"../eventlog/log.go", "../eventlog/entry.go"} {
		addComments(t, comments, file)
	}
	for _, c := range clausesIn(t, "contract.go") {
		comment, ok := comments[c.of]
		if !ok {
			t.Errorf("package eventlog has no comment for %s", c.of)
		} else if !strings.Contains(comment, c.text) {
			t.Errorf("eventlog.%s does not say %q, but %q", c.of, c.text, comment)
		}
	}
}

// TestCasesHaveNamesAndClauses reads the cases as a suite with all its fields has them.
func TestCasesHaveNamesAndClauses(t *testing.T) {
	t.Parallel()
	var names []string
	for _, test := range clusterSuite(nil).cases() {
		if slices.Contains(names, test.name) {
			t.Errorf("two cases have the name %q", test.name)
		}
		if test.clause.text == "" {
			t.Errorf("%s names no sentence of the contract", test.name)
		}
		names = append(names, test.name)
	}
	for _, m := range mutants() {
		if !slices.Contains(names, m.test) {
			t.Errorf("wrong log %s: there is no case %q", m.name, m.test)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(mutants(), func(m wrongLog) bool { return m.test == name }) {
			t.Errorf("no wrong log is there for %s", name)
		}
	}
}

// addComments adds the comments of a file's types, with their fields and methods, and of its
// constants. Those of Log are also split into their named paragraphs.
func addComments(t *testing.T, to map[string]string, file string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, declaration := range parsed.Decls {
		general, ok := declaration.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range general.Specs {
			switch spec := spec.(type) {
			case *ast.ValueSpec:
				addComment(to, "", spec.Names, spec.Doc)
			case *ast.TypeSpec:
				addType(to, spec, general.Doc)
			}
		}
	}
}

func addType(to map[string]string, spec *ast.TypeSpec, doc *ast.CommentGroup) {
	addComment(to, "", []*ast.Ident{spec.Name}, doc)
	for paragraph := range strings.SplitSeq(doc.Text(), "\n\n") {
		if name, _, ok := strings.Cut(paragraph, ". "); ok {
			to[spec.Name.Name+`, "`+name+`"`] = inOneLine(paragraph)
		}
	}
	var fields *ast.FieldList
	switch is := spec.Type.(type) {
	case *ast.StructType:
		fields = is.Fields
	case *ast.InterfaceType:
		fields = is.Methods
	default:
		return
	}
	for _, field := range fields.List {
		addComment(to, spec.Name.Name+".", field.Names, field.Doc)
	}
}

func addComment(to map[string]string, prefix string, names []*ast.Ident, doc *ast.CommentGroup) {
	for _, name := range names {
		to[prefix+name.Name] = inOneLine(doc.Text())
	}
}

func inOneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// clausesIn returns the clauses that a file declares: also those that no case has.
func clausesIn(t *testing.T, file string) (clauses []clause) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	constants := make(map[string]ast.Expr)
	text := func(e ast.Expr) string {
		if name, ok := e.(*ast.Ident); ok {
			e = constants[name.Name]
		}
		text, err := strconv.Unquote(e.(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			constants[n.Names[0].Name] = n.Values[0]
		case *ast.CompositeLit:
			clauses = append(clauses, clause{text(n.Elts[0]), text(n.Elts[1])})
		}
		return true
	})
	if len(clauses) < 20 {
		t.Fatalf("%s declares %d clauses only", file, len(clauses))
	}
	return clauses
}
