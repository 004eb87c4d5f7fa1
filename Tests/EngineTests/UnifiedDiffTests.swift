import Foundation
import Reporting
import Testing
import YAML

/// Patches that people read and tools take.
struct UnifiedDiffTests {
    private func diff(_ before: String, _ replacements: [(String, String)], path: String = "state/s.yaml") -> String {
        unifiedDiff(Self.edited(before, replacements), path: path)
    }

    private static func edited(_ before: String, _ replacements: [(String, String)]) -> EditedText {
        EditedText(
            Array(before.utf8),
            replacements: replacements.compactMap { old, new in
                before.range(of: old).map { range in
                    let start = before.utf8.distance(from: before.startIndex, to: range.lowerBound)
                    return TextReplacement(range: start..<(start + old.utf8.count), text: Array(new.utf8))
                }
            }
        )
    }

    @Test func showsThreeLinesAround() {
        let text = (1...12).map { "l\($0): v\($0)\n" }.joined()
        #expect(
            diff(text, [("v6", "x"), ("v7", "y\n  z")]) == """
                --- a/state/s.yaml
                +++ b/state/s.yaml
                @@ -3,8 +3,9 @@
                 l3: v3
                 l4: v4
                 l5: v5
                -l6: v6
                +l6: x
                -l7: v7
                +l7: y
                +  z
                 l8: v8
                 l9: v9
                 l10: v10

                """
        )
    }

    @Test func twoInALineAreOne() {
        #expect(
            diff("a: {b: 1, c: 2}", [("1", "3"), ("2", "4")]).hasSuffix(
                "-a: {b: 1, c: 2}\n\\ No newline at end of file\n+a: {b: 3, c: 4}\n\\ No newline at end of file\n"
            )
        )
    }

    @Test func nothingIsNothing() {
        #expect(diff("a: 1\n", []).isEmpty)
        #expect(diff("a: 1\n", [("1", "1")]).isEmpty)
        #expect(diff("", []).isEmpty)
    }

    @Test func noLineCanForgeOrColourAnother() {
        let text = diff("a: 1 # \u{1B}[2J\u{202E}\tx\n", [("1", "2")], path: "s\n+++ b\u{7}.yaml")
        #expect(text.unicodeScalars.allSatisfy { $0 == "\n" || $0 == "\t" || !Escaping.isActive($0) })
        #expect(text.hasPrefix("--- a/s\\n+++ b\\u{7}.yaml\n"))
        #expect(text.contains("-a: 1 # \\u{1B}[2J\\u{202E}\tx\n"))
    }

    @Test(arguments: [("/x/s.yaml", "--- /x/s.yaml\n"), ("../s.yaml", "--- ../s.yaml\n"), ("./s.yaml", "--- a/s.yaml\n")])
    func pathsAreThoseThatPatchTakes(path: String, head: String) {
        #expect(diff("a: 1\n", [("1", "2")], path: path).hasPrefix(head))
    }

    /// Random edits of random texts: `patch` makes of the old text what we make of it.
    @Test func patchTakesIt() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-patch-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        var random = Seeded(5)
        var expected: [String: [UInt8]] = [:]
        var patch = ""
        for number in 0..<200 {
            let lineBreak = number % 3 == 0 ? "\r\n" : "\n"
            let lines = (0..<Int.random(in: 1...40, using: &random)).map { "k\($0): value \($0)\(number)" }
            let before = Array((lines.joined(separator: lineBreak) + (number % 4 == 0 ? "" : lineBreak)).utf8)
            var replacements: [TextReplacement] = []
            var place = 0
            while true {
                place += Int.random(in: 0...120, using: &random)
                let end = place + Int.random(in: 1...30, using: &random)
                // Whole characters, and line breaks as they are: a value never begins or ends in the middle of one.
                guard end <= before.count, !before[place..<end].contains(where: { $0 < 0x20 }) else {
                    if end > before.count { break }
                    continue
                }
                let text = ["x", "y\(lineBreak)  z", "", "1\(lineBreak)2\(lineBreak)3"].randomElement(using: &random) ?? ""
                replacements.append(TextReplacement(range: place..<end, text: Array(text.utf8)))
                place = end
            }
            let text = EditedText(before, replacements: replacements)
            try Data(before).write(to: folder.appendingPathComponent("f\(number)"))
            expected["f\(number)"] = text.after
            patch += unifiedDiff(text, path: "f\(number)")
        }
        try Data(patch.utf8).write(to: folder.appendingPathComponent("all.patch"))
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/git")
        process.arguments = ["apply", "--whitespace=nowarn", "all.patch"]
        process.currentDirectoryURL = folder
        process.environment = ["PATH": "/usr/bin:/bin", "HOME": folder.path, "GIT_CEILING_DIRECTORIES": folder.path]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        for (name, bytes) in expected { #expect(Array(try Data(contentsOf: folder.appendingPathComponent(name))) == bytes, "\(name)") }
    }
}
