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
