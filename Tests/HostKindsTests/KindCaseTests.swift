import Foundation
import HostKinds
import ResourceModel
import Testing
import Values

struct KindCaseTests {
    @Test(arguments: KindCase.all)
    func case_(_ example: KindCase) throws {
        let actual = try example.run()
        if KindCase.records { return try example.record(actual) }
        let content = try example.content()
        for key in ["expected", "diagnostics"] {
            let expected = content[key] ?? .array([])
            let found = actual[key] ?? .array([])
            #expect(found == expected, "\(key):\n\(CaseText.pretty(["found": found, "in the file": expected]))")
        }
        let isEmpty = content["expected"] == nil && content["diagnostics"] == nil
        #expect(!isEmpty, "the case expects nothing at all")
    }

    /// A look at a part asks nothing else, so no kind may need what another one asks.
    @Test(arguments: HostKinds.all.map(\.name))
    func everyKindIsJudgedByItsOwnSections(kind: String) throws {
        let own = HostKinds.probe(of: [kind]).map(\.name)
        #expect(own == HostKinds.probe.map(\.name).filter(own.contains))
        #expect(own.count < HostKinds.probe.count)
        for example in KindCase.all where example.kind.name == kind {
            let needed = try example.content()["facts"]?.objectValue?.keys.sorted() ?? []
            #expect(Set(needed).isSubset(of: own), "\(example.testDescription)")
        }
    }

    @Test func allKindsTogetherAskEverything() {
        #expect(HostKinds.probe(of: Set(HostKinds.all.map(\.name))).map(\.name) == HostKinds.probe.map(\.name))
        #expect(HostKinds.probe(of: []).map(\.name) == HostKinds.baseProbe.map(\.name))
    }

    @Test func everyKindHasCasesAndOneInWhichNothingChanges() throws {
        for (kind, least) in ["IptablesChain": 12, "NetworkInterface": 12, "OperatingSystem": 8] {
            let cases = KindCase.all.filter { $0.kind.name == kind }
            #expect(cases.count >= least, "\(kind) has \(cases.count) cases")
            let unchanged = try cases.filter { example in
                let expected = try example.content()["expected"]?.arrayValue ?? []
                return !expected.isEmpty && expected.allSatisfy { $0["standing"] == "inSync" }
            }
            #expect(!unchanged.isEmpty, "\(kind) has no case in which nothing changes")
        }
    }
}
