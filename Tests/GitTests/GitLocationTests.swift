import Git
import Testing

@Suite struct GitLocationTests {
    @Test(arguments: ["https://git.example/a.git", "ssh://git@git.example:22/a", "git@git.example:a/b.git", "file:///srv/a.git", "git://h/a"])
    func isARepository(_ source: String) { #expect(GitLocation.isURL(source)) }

    @Test(arguments: ["state", "./a:b", "/srv/x@y:z", "specs/a@b.yaml", "a:b"])
    func isAPath(_ source: String) { #expect(!GitLocation.isURL(source)) }
}
