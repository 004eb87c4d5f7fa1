import Forge
import Testing

@Suite struct PushNoticeTests {
    @Test func saysNothingThatWasNotSaid() {
        let notice = PushNotice(provider: "generic", repositories: [])
        #expect(notice.ref == nil)
        #expect(notice.commit == nil)
    }
}
