import Foundation
import Testing
import Values
import YAML

/// The examples for CI keep to what makes them safe: whoever copies one gets these rules with it.
@Suite struct ReportExampleTests {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("examples/report")
    static let actions = ["github-actions.yml", "forgejo-actions.yml"]

    private static func read(_ name: String) throws -> Value {
        let parsed = parseYAML(Array(try Data(contentsOf: folder.appendingPathComponent(name))), file: name)
        #expect(parsed.error == nil && parsed.documents.count == 1)
        var errors: [YAMLError] = []
        let node = try #require(parsed.documents.first)
        let value = node.value(errors: &errors)
        #expect(errors.isEmpty)
        return value
    }

    /// Every command line of a job.
    private static func scripts(_ job: Value) -> [String] {
        let steps = (job["steps"]?.arrayValue ?? []).compactMap { $0["run"]?.stringValue }
        return steps + (job["script"]?.arrayValue ?? []).compactMap(\.stringValue)
    }

    @Test func eachFileIsOneOfThese() throws {
        let names = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path).sorted()
        #expect(names == ["README.md", "comment.png", "forgejo-actions.yml", "github-actions.yml", "gitlab-ci.yml", "picture"])
    }

    @Test(arguments: actions)
    func actionsGiveStrangersNothing(name: String) throws {
        let workflow = try Self.read(name)
        let events = try #require(workflow["on"]?.objectValue)
        #expect(Set(events.keys) == ["pull_request"])
        #expect(workflow["permissions"] == [:])
        let jobs = try #require(workflow["jobs"]?.objectValue)
        #expect(Set(jobs.keys) == ["validate", "report"])
        for (job, value) in jobs {
            let rights = try #require(value["permissions"]?.objectValue)
            #expect(value["timeout-minutes"]?.intValue != nil)
            let scripts = Self.scripts(value)
            #expect(
                !scripts.isEmpty && scripts.allSatisfy { !$0.contains("${{") && ($0.hasPrefix("plumb ") || $0.hasPrefix("git -c ")) },
                "\(scripts)"
            )
            #expect(scripts.allSatisfy { !$0.replacing(/"[^"]*"/, with: "").contains("$") }, "\(scripts)")
            #expect(scripts.allSatisfy { !$0.lowercased().contains("token") })
            for step in value["steps"]?.arrayValue ?? [] where step["uses"] != nil {
                #expect(step["uses"]?.stringValue?.wholeMatch(of: /(https:\/\/[a-z.]+\/)?actions\/checkout@[0-9a-f]{40}/) != nil)
                #expect(step["with"]?["persist-credentials"] == false)
            }
            if scripts.contains(where: { $0.contains("plumb report") }) {
                #expect(job == "report" && value["if"] == "github.event.pull_request.head.repo.full_name == github.repository")
                #expect(rights == ["contents": "read", "pull-requests": "write", "statuses": "write"])
            } else {
                #expect(scripts == ["plumb validate state"])
                #expect(rights == ["contents": "read"])
                #expect(!value.canonicalJSON.contains("secrets.") && !value.canonicalJSON.contains("github.token"))
            }
        }
    }

    @Test func gitLabGivesStrangersNothing() throws {
        let pipeline = try #require(try Self.read("gitlab-ci.yml").objectValue)
        #expect(Set(pipeline.keys) == ["plumb-validate", "plumb-report"])
        for (job, value) in pipeline {
            let scripts = Self.scripts(value)
            let conditions = (value["rules"]?.arrayValue ?? []).compactMap { $0["if"]?.stringValue }
            #expect(conditions.count == 1 && conditions.allSatisfy { $0.hasPrefix("$CI_PIPELINE_SOURCE == \"merge_request_event\"") })
            #expect(value["timeout"] != nil)
            // What the shell is given in quotes is one word, whatever a branch is called.
            #expect(scripts.allSatisfy { !$0.replacing(/"[^"]*"/, with: "").contains("$") && !$0.contains("TOKEN") }, "\(scripts)")
            if scripts.contains(where: { $0.contains("plumb report") }) {
                #expect(job == "plumb-report" && value["environment"]?["name"] == "plumb")
                #expect(conditions.first?.hasSuffix("&& $CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_MERGE_REQUEST_PROJECT_ID") == true)
            } else {
                #expect(scripts == ["plumb validate state"] && value["environment"] == nil && value["variables"] == nil)
            }
        }
    }

    @Test(arguments: [("github-actions.yml", "github"), ("forgejo-actions.yml", "forgejo"), ("gitlab-ci.yml", "gitlab")])
    func eachReportsToItsOwnForge(name: String, forge: String) throws {
        let text = try String(contentsOf: Self.folder.appendingPathComponent(name), encoding: .utf8)
        #expect(text.contains("--forge \(forge) --pull-request \""))
        #expect(text.contains("plumb report --base \"$") && text.contains("--head \"$"))
        // Said in the comment that forbids it, and nowhere else.
        #expect(text.split(separator: "\n").allSatisfy { !$0.contains("pull_request_target") || $0.hasPrefix("# Never") })
    }
}
