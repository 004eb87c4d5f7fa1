import Foundation
import Testing

/// SECURITY.md promises that each line of its threat model names the tests that hold it: they are there, under these names.
@Suite struct SecurityPageTests {
    private static let top = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// The rows of the table: what is promised, and `SUITE.TEST` of each test that is named.
    private static func rows() throws -> [(promise: String, tests: [String])] {
        let page = try String(contentsOf: top.appendingPathComponent("SECURITY.md"), encoding: .utf8)
        return page.split(separator: "\n").filter { $0.hasPrefix("| ") && !$0.hasPrefix("| | what holds") }.map { row in
            let cells = row.split(separator: "|", omittingEmptySubsequences: false)
            var suite = ""
            let tests = (cells.dropLast().last ?? "").matches(of: /`([A-Za-z]*)\.([A-Za-z]+)`/).map { match in
                // Without a suite it is the one before it.
                if !match.1.isEmpty { suite = String(match.1) }
                return "\(suite).\(match.2)"
            }
            return (cells.dropFirst().first.map { $0.trimmingCharacters(in: .whitespaces) } ?? "", tests)
        }
    }

    /// Every `SUITE.TEST` there is: a test belongs to the suite (`…Tests`) that was begun last before it.
    private static func tests() throws -> Set<String> {
        var found: Set<String> = []
        let folder = top.appendingPathComponent("Tests")
        for case let file as URL in FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil) ?? .init()
        where file.pathExtension == "swift" {
            var suite = ""
            var isTest = false
            for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
                if let match = line.firstMatch(of: /^ {0,4}(@Suite(\([^)]*\))? )?(?:final )?(?:struct|class|extension) ([A-Za-z]+Tests)\b/) {
                    suite = String(match.3)
                }
                if line.contains("@Test") { isTest = true }
                if isTest, let match = line.firstMatch(of: /func ([A-Za-z]+)\(/) {
                    found.insert("\(suite).\(match.1)")
                    isTest = false
                }
            }
        }
        return found
    }

    @Test func eachLineNamesTestsThatAreThere() throws {
        let rows = try Self.rows()
        #expect(rows.count >= 10)
        let tests = try Self.tests()
        #expect(tests.count > 500)
        for (promise, named) in rows {
            #expect(!named.isEmpty, "'\(promise)' names no test")
            let missing = named.filter { !tests.contains($0) }
            #expect(missing == [], "\(promise)")
        }
    }
}
