import Foundation
import Testing
import Values

struct SensitiveValueTests {
    private let secret: Value = ["data": .sensitive(SensitiveValue("hunter2"))]

    @Test func isShownNowhere() throws {
        var dumped = ""
        dump(secret, to: &dumped)
        let encoded = String(decoding: try JSONEncoder().encode(secret), as: UTF8.self)
        for text in [secret.canonicalJSON, secret.description, "\(secret)", String(reflecting: secret), dumped, encoded] {
            #expect(!text.contains("hunter2"))
        }
        #expect(secret.canonicalJSON == #"{"data":"(sensitive)"}"#)
    }

    @Test func isSentAndCompared() {
        #expect(secret.exposedJSON == #"{"data":"hunter2"}"#)
        #expect(secret != ["data": .sensitive(SensitiveValue("hunter3"))])
        #expect(secret == ["data": .sensitive(SensitiveValue("hunter2"))])
    }
}
