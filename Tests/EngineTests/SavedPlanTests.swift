import Planning
import Reporting
import ResourceModel
import Testing
import Values

/// A file is a plan as it was written, or it is refused with the reason.
struct SavedPlanTests {
    private let plan = PlanComparisonTests.plan
    private var document: Value { plan.document(digestKey: "key") }
    private var bytes: [UInt8] { Array(document.prettyJSON.utf8) }

    @Test func readsBackWhatWasWritten() throws {
        let saved = try SavedPlan(file: bytes)
        #expect(saved.planID == plan.planID && saved.revision == nil && saved.source == "state" && saved.contentHash == "c0ffee")
        #expect(saved.selection == plan.selection && saved.identities == plan.identities)
        #expect(saved.changes == plan.actions.map { PlannedChange($0, digestKey: "key") })
        var odd = plan
        odd.revision = "abc"
        odd.actions[0].fields = [-0.0, 1e300, 0.1, 1e15, .infinity].map { FieldDifference(path: "d", observed: .double($0), desired: nil) }
        odd.actions[0].fields.append(FieldDifference(path: "\u{2028}e\u{301}\u{0}", observed: .object(["é": "\u{202E}"]), desired: .int(.min)))
        let again = try SavedPlan(file: Array(odd.document(digestKey: "key").prettyJSON.utf8))
        #expect(again.revision == "abc")
        for (read, action) in zip(again.changes, odd.actions) {
            let written = PlannedChange(action, digestKey: "key")
            for (a, b) in zip(read.fields, written.fields) { #expect(a == b) }
            #expect(read == written)
        }
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
        let members = ["planID", "revision", "source", "contentHash", "selection", "targets", "digestKey", "changes"]
        let ofChanges = ["address", "action", "risk", "fields", "steps", "stepsDigest", "sensitiveDigest", "fingerprint"]
        for value: Value? in [nil, 7, ["x": 1], [7]] {
            for member in members {
                var forged = document
                forged[member] = value
                refuses(forged, member)
            }
            for member in ofChanges {
                var forged = document
                var changes = forged["changes"]?.arrayValue ?? []
                changes[1][member] = value
                forged["changes"] = .array(changes)
                refuses(forged, member)
            }
        }
        var printed = plan.document
        refuses(printed, "the output of --output json")
        printed["digestKey"] = "key"
        refuses(printed, "the same with a key")
        var forged = document
        let changes = forged["changes"]?.arrayValue ?? []
        forged["changes"] = .array(changes + changes.prefix(1))
        refuses(forged, "the same address twice")
    }

    @Test func aMemberThatIsThereTwiceIsRefused() {
        let text = document.prettyJSON
        let twice = text.replacing("  \"source\": \"state\",", with: "  \"source\": \"state\",\n  \"source\": \"state\",")
        #expect(text != twice)
        #expect(throws: SavedPlan.Refusal.self) { try SavedPlan(file: Array(twice.utf8)) }
    }

    /// Whoever makes the checksum anew gets nothing run but what this Plumb would do by itself.
    @Test func aForgedStepIsStale() throws {
        var forged = document
        var changes = forged["changes"]?.arrayValue ?? []
        changes[0]["steps"] = ["rm -rf /"]
        forged["changes"] = .array(changes)
        let comparison = compare(try SavedPlan(file: Array(signed(forged).prettyJSON.utf8)), with: plan)
        #expect(comparison.stale.map(\.planned.address) == [plan.actions[0].address])
        #expect(comparison.identical == Array(plan.actions.dropFirst()))
    }

    @Test func noSensitiveValueIsInIt() throws {
        let secret = Self.secret(observed: "hunter1", desired: "hunter2")
        let file = secret.document(digestKey: "key").prettyJSON
        #expect(!file.contains("hunter") && file.contains("(sensitive)"))
        // Keyed: two files of one plan can't be told to hold the same value.
        func digest(_ key: String) -> String { PlannedChange(secret.actions[0], digestKey: key).sensitiveDigest }
        #expect(digest("key").count == 64 && digest("key") != digest("other"))
        #expect(PlannedChange(plan.actions[0], digestKey: "key").sensitiveDigest.isEmpty)
        // What goes to stdout has nothing that guesses could be tried on.
        #expect(secret.document == Self.secret(observed: "hunter3", desired: "hunter4").document)
    }

    @Test(arguments: [("hunter1", "other", "hunter2"), ("other", "hunter2", "hunter2"), ("hunter1", "hunter2", "other")])
    func aChangedSensitiveValueIsStale(observed: String, desired: String, sent: String) throws {
        let saved = try SavedPlan(file: Array(Self.secret(observed: "hunter1", desired: "hunter2").document(digestKey: "key").prettyJSON.utf8))
        #expect(compare(saved, with: Self.secret(observed: "hunter1", desired: "hunter2")).stale.isEmpty)
        let stale = compare(saved, with: Self.secret(observed: observed, desired: desired, sent: sent)).stale
        #expect(stale.map(\.reason) == ["a sensitive value that is part of it has changed"])
    }

    private static func secret(observed: String, desired: String, sent: String? = nil) -> Plan {
        var plan = PlanComparisonTests.plan
        func hidden(_ text: String) -> Value { .sensitive(SensitiveValue(.string(text))) }
        plan.actions[0].fields = [FieldDifference(path: "data.password", observed: hidden(observed), desired: hidden(desired))]
        let request = Step.Request(method: "PATCH", path: "/x", body: ["data": hidden(sent ?? desired)])
        plan.actions[0].steps = [Step(.send(request), summary: "apply")]
        return plan
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
