import PathPatterns
import Testing

struct PathPatternsTests {
    @Test(
        arguments: [
            (["*.yaml"], "a/b.yaml", true), (["*.yaml"], "a/b.yml", false), (["/a"], "a/b", true), (["/a"], "x/a", false), (["a/"], "a", false),
            (["a/"], "a/b", true), (["a/**"], "a/b/c", true), (["**/c"], "a/b/c", true), (["a/**/c"], "a/c", true), (["a/*/c"], "a/b/d/c", false),
            (["*", "!keep"], "keep", false), (["*", "!keep"], "other", true), (["[ab].x"], "b.x", true), (["[!ab].x"], "b.x", false),
            (["\\#x"], "#x", true), (["# x"], "# x", false), (["a?c"], "abc", true), (["a?c"], "a/c", false),
            (["clusters/home/**"], "clusters/home/x", true),
            (
                ["*****************************************************************a"], "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
                false
            ),
        ] as [([String], String, Bool)]
    )
    func matchesAsGitignoreDoes(patterns: [String], path: String, expected: Bool) {
        #expect(PathPatterns(lines: patterns).matches(path) == expected)
    }
}
