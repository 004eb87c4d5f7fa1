import Planning
import Reporting
import ResourceModel
import Testing
import Values

/// A file is a plan as it was written, or it is refused with the reason.
struct SavedPlanTests {
    private let plan = PlanComparisonTests.plan
    private var bytes: [UInt8] { Array(plan.document.prettyJSON.utf8) }

    @Test func readsBackWhatWasWritten() throws {
        let saved = try SavedPlan(file: bytes)
        #expect(saved.planID == plan.planID && saved.revision == nil && saved.source == "state" && saved.contentHash == "c0ffee")
        #expect(saved.selection == plan.selection && saved.identities == plan.identities)
        #expect(saved.changes == plan.actions.map(PlannedChange.init))
        var odd = plan
        odd.revision = "abc"
        odd.actions[0].fields = [-0.0, 1e300, 0.1, 1e15, .infinity].map { FieldDifference(path: "d", observed: .double($0), desired: nil) }
        odd.actions[0].fields.append(FieldDifference(path: "\u{2028}e\u{301}\u{0}", observed: .object(["é": "\u{202E}"]), desired: .int(.min)))
        let again = try SavedPlan(file: Array(odd.document.prettyJSON.utf8))
        #expect(again.changes == odd.actions.map(PlannedChange.init) && again.revision == "abc")
    }

    /// Whatever stands at a place, another byte, none, one more, or the end there: it is noticed.
    @Test func everyByteCounts() {
        let bytes = bytes
        var taken: [String] = []
        for index in bytes.indices {
            var flipped = bytes
            flipped[index] ^= 1
            var blank = bytes
            blank[index] = bytes[index] == 0x20 ? 0x09 : 0x20
            var missing = bytes
            missing.remove(at: index)
            var doubled = bytes
            doubled.insert(bytes[index], at: index)
            for (what, damaged) in [
                ("flipped", flipped), ("blank", blank), ("missing", missing), ("doubled", doubled), ("cut", Array(bytes[..<index])),
            ]
            where (try? SavedPlan(file: damaged)) != nil { taken.append("\(what) at \(index)") }
        }
        #expect(taken.isEmpty)
    }

    @Test(arguments: [
        ("", "is no JSON document, so no plan of Plumb"), ("apiVersion: plumb/v1\n", "is no JSON document, so no plan of Plumb"),
        ("[]\n", "is no plan of Plumb"), ("{}\n", "is no plan of Plumb"), ("{\"kind\": \"List\"}\n", "is no plan of Plumb"),
        ("{\"formatVersion\": \"1\", \"planID\"", "is cut short: plan again"),
        ("{\"formatVersion\": \"2\"}\n", "has the format '2', which is newer than what this Plumb reads ('1'): plan again with this one"),
        ("{\"formatVersion\": \"0\"}\n", "has the format '0', which is older than what this Plumb reads ('1'): plan again with this one"),
        ("{\"formatVersion\": 1}\n", "has the format '1', which is not what this Plumb reads ('1'): plan again with this one"),
        ("{\"formatVersion\": \"1\", \"changes\": []}\n", "has no checksum: it was written by an older Plumb, or is not whole; plan again"),
        ("{\"formatVersion\": \"1\", \"checksum\": \"00\"}\n", "was changed after it was written: its checksum does not fit; plan again"),
    ])
    func saysWhyItIsRefused(text: String, reason: String) {
        #expect(throws: SavedPlan.Refusal(reason: reason)) { try SavedPlan(file: Array(text.utf8)) }
    }

    /// With a checksum that fits, as who forges a file would make it.
    @Test func everyMemberIsNeeded() {
        let members = ["planID", "revision", "source", "contentHash", "selection", "targets", "changes"]
        let ofChanges = ["address", "action", "risk", "fields", "steps", "stepsDigest", "fingerprint"]
        for value: Value? in [nil, 7, ["x": 1], [7]] {
            for member in members {
                var forged = plan.document
                forged[member] = value
                refuses(forged, member)
            }
            for member in ofChanges {
                var forged = plan.document
                var changes = forged["changes"]?.arrayValue ?? []
                changes[1][member] = value
                forged["changes"] = .array(changes)
                refuses(forged, member)
            }
        }
        var forged = plan.document
        let changes = forged["changes"]?.arrayValue ?? []
        forged["changes"] = .array(changes + changes.prefix(1))
        refuses(forged, "the same address twice")
    }

    @Test func aMemberThatIsThereTwiceIsRefused() {
        let text = plan.document.prettyJSON
        let twice = text.replacing("  \"source\": \"state\",", with: "  \"source\": \"state\",\n  \"source\": \"state\",")
        #expect(text != twice)
        #expect(throws: SavedPlan.Refusal.self) { try SavedPlan(file: Array(twice.utf8)) }
    }

    /// Whoever makes the checksum anew gets nothing run but what this Plumb would do by itself.
    @Test func aForgedStepIsStale() throws {
        var forged = plan.document
        var changes = forged["changes"]?.arrayValue ?? []
        changes[0]["steps"] = ["rm -rf /"]
        forged["changes"] = .array(changes)
        let comparison = compare(try SavedPlan(file: Array(signed(forged).prettyJSON.utf8)), with: plan)
        #expect(comparison.stale.map(\.planned.address) == [plan.actions[0].address])
        #expect(comparison.identical == Array(plan.actions.dropFirst()))
    }

    @Test func noSensitiveValueIsInIt() {
        var secret = plan
        let value = Value.sensitive(SensitiveValue("hunter2"))
        secret.actions[0].fields[0].desired = value
        let request = Step.Request(method: "PATCH", path: "/x", body: ["data": value])
        secret.actions[0].steps = [Step(.send(request), summary: "apply")]
        #expect(!secret.document.prettyJSON.contains("hunter2") && secret.document.prettyJSON.contains("(sensitive)"))
        // Not even as a hash that could be guessed at.
        var other = secret
        other.actions[0].steps = [
            Step(.send(Step.Request(method: "PATCH", path: "/x", body: ["data": .sensitive(SensitiveValue("other"))])), summary: "apply")
        ]
        #expect(secret.actions[0].stepsDigest == other.actions[0].stepsDigest)
    }

    private func signed(_ document: Value) -> Value {
        var document = document
        document["checksum"] = nil
        document["checksum"] = .string(SavedPlan.checksum(of: document))
        return document
    }

    private func refuses(_ document: Value, _ what: String) {
        let file = Array(signed(document).prettyJSON.utf8)
        #expect(throws: SavedPlan.Refusal.self, "\(what)") { try SavedPlan(file: file) }
    }
}
