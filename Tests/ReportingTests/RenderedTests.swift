import Foundation
import Planning
import Reporting
import ResourceModel
import Testing
import Values

/// Reports and issues as GitHub's own parser makes HTML of them, with raw HTML let through, which no forge does: nothing that others wrote acts in it.
///
/// `Tests/install` brings cmark-gfm.
struct RenderedTests {
    private static let extensions = ["table", "autolink", "strikethrough", "tasklist", "footnotes"]

    private static func rendered(_ markdown: String) throws -> String {
        try tool("/usr/bin/cmark-gfm", ["--unsafe"] + extensions.flatMap { ["--extension", $0] }, input: markdown)
    }

    /// Plumb's own tags, and nothing else; outside of code no mention, link, reference or order.
    private static func check(_ markdown: String, _ source: String) throws {
        let html = try rendered(markdown)
        #expect(html.contains("<p>"), "cmark-gfm gave nothing")
        let names = ["h3", "h4", "p", "ul", "li", "code", "strong", "details", "summary", "b", "sub"]
        let allowed = Set(names.flatMap { ["<\($0)>", "</\($0)>"] } + ["<details open>"])
        var rest = html[...]
        var depth: [String: Int] = [:]
        var isCode = false
        var outside = ""
        if rest.hasPrefix("<!-- plumb:report"), let end = rest.ranges(of: "-->").first { rest = rest[end.upperBound...] }
        while let open = rest.firstIndex(of: "<") {
            if !isCode { outside += rest[..<open] }
            guard let close = rest[open...].firstIndex(of: ">") else { break }
            let tag = String(rest[open...close])
            guard allowed.contains(tag) else {
                Issue.record("\(tag) from \(source.debugDescription.prefix(300)):\n\(html.prefix(3000))")
                return
            }
            let name = tag.drop { !$0.isLetter }.prefix { $0.isLetter || $0.isNumber }
            depth[String(name), default: 0] += tag.hasPrefix("</") ? -1 : 1
            if name == "code" { isCode = !tag.hasPrefix("</") }
            rest = rest[rest.index(after: close)...]
        }
        outside += isCode ? "" : rest
        #expect(depth.values.allSatisfy { $0 == 0 }, "\(depth) from \(source.debugDescription.prefix(300))")
        for sign in ["@", "http", "www.", ":tada:", "evil", "alert", "/close", "plumb:report", "#1", "!1", "~~", "](", "![", "$"] {
            #expect(!outside.contains(sign), "\(sign) from \(source.debugDescription.prefix(300)) in \(outside.prefix(2000))")
        }
        #expect(!html.unicodeScalars.contains { $0 != "\n" && Escaping.isActive($0) })
    }

    private static func texts(_ hostile: String) -> [String] {
        let field = FieldDifference(path: hostile, observed: .string(hostile), desired: .array([.string(hostile)]))
        let actions = [DriftIssueTests.action(hostile, hostile, .update, [field], reason: hostile), DriftIssueTests.action("pi-1", hostile, .delete)]
        let problems = [
            Problem(target: hostile, address: ResourceAddress(target: hostile, resource: hostile), status: .unknown, message: hostile),
            Problem(target: hostile, status: .held, message: hostile),
        ]
        return [
            Sample.hostile(hostile).markdown(site: hostile, budget: 65_536, whole: hostile),
            Sample.hostile(hostile, stranger: true).markdown(budget: 4096),
            Sample.hostileMistakes(hostile).markdown(site: hostile),
            DriftIssueTests.issue(actions, problems, site: hostile).markdown(budget: 65_536),
            DriftIssueTests.issue(actions, problems, hidesValues: true).markdown(budget: 4096),
        ]
    }

    @Test(arguments: PullRequestReportTests.hostile) func hostileTextIsNothingButText(hostile: String) throws {
        for text in Self.texts(hostile) { try Self.check(text, hostile) }
    }

    /// Pieces of what acts, put together at random.
    @Test(arguments: 0..<60) func noMixtureGetsOut(seed: UInt64) throws {
        var dice = Dice(state: seed &* 0x9E37_79B9_7F4A_7C15 | 1)
        let pieces =
            PullRequestReportTests.hostile.filter { $0.utf8.count < 200 } + [
                "`", "``", "```", "\n", "\n\n", "\r", "<", ">", "</", "<!--", "-->", "]", "[", "(", ")", "!", "\\", "|", "*", "_", "@a",
                "https://evil.example",
                "</details>", "</summary>", "</code>", "&#96;", "&lt;", " ", "\t", "- ", "  - ", "#### ", "1. ", "[^1]", "[^1]: x", "- [ ] ",
                "\u{200B}", "a", "é", "\u{301}",
            ]
        for _ in 0..<3 {
            let hostile = (0..<Int.random(in: 1...12, using: &dice)).map { _ in pieces.randomElement(using: &dice) ?? "" }.joined()
            for text in Self.texts(hostile) { try Self.check(text, hostile) }
        }
    }

    /// What people see of the pictures' comments: so that the check above does not pass because there is nothing.
    @Test func whatIsMeantIsThere() throws {
        let html = try Self.rendered(Sample.report().markdown(site: "state"))
        for part in [
            "<h3>Plumb: 4 changes, 1 disconnecting", "<details open><summary><code>pi-3</code>: 2 changes, <b>1 disconnecting</b></summary>",
            "<li><code>mtu</code>: <code>1500</code> → <code>1400</code></li>", "<h4>Already drifted</h4>",
        ] { #expect(html.contains(part), "\(part) in \(html)") }
    }

    private struct Dice: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return state
        }
    }
}
