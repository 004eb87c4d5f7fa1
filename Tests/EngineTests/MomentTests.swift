import ResourceModel
import Testing

struct MomentTests {
    @Test(arguments: [
        (0, "1970-01-01 00:00:00 UTC"), (951_782_400, "2000-02-29 00:00:00 UTC"), (1_785_579_665, "2026-08-01 10:21:05 UTC"),
        (4_107_542_399, "2100-02-28 23:59:59 UTC"), (4_107_542_400, "2100-03-01 00:00:00 UTC"), (-1, "1969-12-31 23:59:59 UTC"),
    ])
    func isShownByTheCalendar(seconds: Int64, text: String) {
        #expect(Moment(milliseconds: seconds * 1000).description == text)
    }

    @Test func countsBothWays() {
        let noon = Moment(milliseconds: 1000)
        #expect(noon + .seconds(60) == Moment(milliseconds: 61_000))
        #expect(noon - Moment(milliseconds: 3500) == .milliseconds(-2500))
    }
}
