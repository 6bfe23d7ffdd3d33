//! In which direction packets of a session were lost, as the reflector's own count of its
//! answers tells.
//!
//! A stateful reflector numbers its answers from 0. Between two answers, the requests without an
//! answer were lost on either way, and the numbers that are missing are answers that it sent:
//! those were lost on the way back, the rest on the way there. A stateless one copies the
//! request's number. Requests are numbered from 1, as if the first had been lost, so the first
//! answer already tells the two apart. Of what is lost behind the last answer nothing is known.
//!
//! Not every request without an answer of the reflector's is a loss: some are sent beside the
//! count, and to some something else answers. Those are told by their numbers.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound::Excluded;

use serde::Serialize;

/// An answer that came so many places late is still taken for one that was overtaken; of an
/// older one, the reflector has forgotten the session and counts anew.
const WINDOW: u64 = 1024;

/// The latest gaps are remembered, to say of a packet in which direction it was lost.
const GAPS: usize = 1024;

/// A direction in which a packet was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The request did not reach the server.
    ToServer,
    /// The answer did not come back.
    ToClient,
}

/// The losses of a session by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostByWay {
    /// Requests that did not reach the reflector.
    pub to_server: u64,
    /// Answers that did not come back.
    pub to_client: u64,
    /// Those of which it is not known: after the last answer, or around a new count.
    pub unknown: u64,
}

/// Requests in a row that have no answer, between two that have one.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// Their first number, and the one behind their last.
    requests: (u64, u64),
    /// Of them, those that were sent.
    unanswered: u64,
    /// The answers that are missing in between.
    answers: u64,
}

/// What is known of the directions in one session.
#[derive(Clone, Debug, Default)]
pub struct Directions {
    /// The request with the greatest number that was answered; 0 for none.
    last_request: u64,
    /// The greatest number of an answer, and 1 more; 0 for none.
    answers: u64,
    /// Which of the latest answers have come, the latest at the back.
    seen: VecDeque<bool>,
    /// Requests before the last one that was answered, without an answer.
    open_requests: u64,
    /// Answers before the latest that have not come.
    open_answers: u64,
    /// Requests behind the last answered one for which no answer of the reflector's is
    /// missing: the system did not send them, or something else has answered.
    without: BTreeSet<u64>,
    /// How many more of them are forgotten: their numbers are below all that are remembered, so
    /// they are between the last answered one and any that will be.
    without_number: u64,
    /// Requests that are sent beside the count and have no answer.
    uncounted: BTreeSet<u64>,
    gaps: VecDeque<Gap>,
    /// Of the counts before the present one.
    before: LostByWay,
    /// How often the count began anew.
    restarts: u64,
    has_answer: bool,
    is_stateful: bool,
}

impl Directions {
    /// Whether the reflector has a count of its own; `None` before any answer. One that has none
    /// copies the number of the request.
    pub fn is_stateful(&self) -> Option<bool> {
        self.has_answer.then_some(self.is_stateful)
    }

    /// How often the reflector's count began anew.
    pub const fn restarts(&self) -> u64 {
        self.restarts
    }

    /// The greatest number of a request that was answered; 0 for none.
    pub const fn last_request(&self) -> u64 {
        self.last_request
    }

    /// Records that the system did not send the request of this number, which is the latest.
    pub fn not_sent(&mut self, number: u64) {
        self.without.insert(number);
    }

    /// Records that the request of this number, the latest, was sent beside the count: it is
    /// no loss where it has no answer.
    pub fn sent_uncounted(&mut self, number: u64) {
        self.uncounted.insert(number);
    }

    /// Records an answer to a request that was sent beside the count.
    pub fn answered_uncounted(&mut self, number: u64, own: u32) {
        let is_first = self.uncounted.remove(&number);
        self.answered(number, own, is_first);
    }

    /// Records that something else than the reflector has answered a request that had no answer
    /// before: it is no loss, and no answer of the reflector's is missing for it.
    pub fn answered_by_another(&mut self, request: u64) {
        match request > self.last_request {
            true => drop(self.without.insert(request)),
            false => self.close_request(request, false),
        }
    }

    /// No answer to a request below this number is recorded from now on. How many of them were not
    /// sent is all that has to be known then, however many there are.
    pub fn forget_below(&mut self, number: u64) {
        while let Some(first) = self.without.first().copied()
            && first < number
        {
            self.without.pop_first();
            self.without_number += u64::from(first > self.last_request);
        }
    }

    /// Of how many requests the numbers are remembered, but for the gaps.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.without.len() + self.uncounted.len()
    }

    /// Records an answer to a request that was sent, with the number that it has itself.
    /// `is_first` says whether that request had none before.
    pub fn answered(&mut self, request: u64, own: u32, is_first: bool) {
        self.has_answer = true;
        self.is_stateful |= own != request as u32;
        if self.answers == 0 {
            return self.first(request, u64::from(own));
        }
        // Nearest to the latest: 32 bits wrap.
        let ahead = own.wrapping_sub(self.answers as u32).cast_signed();
        let most = request.saturating_sub(self.last_request) + WINDOW;
        match u64::try_from(ahead) {
            Ok(ahead) if ahead <= most => self.advance(request, ahead, is_first),
            Ok(_) => self.restart(request, own, is_first),
            Err(_) => self.behind(request, u64::from(ahead.unsigned_abs()), own, is_first),
        }
    }

    /// The first answer of all. A reflector that knew the session before has a count that is
    /// greater than what was sent: then nothing is known of what was before.
    fn first(&mut self, request: u64, own: u64) {
        let before = self.sent_between(0, request);
        match own <= before {
            true => self.advance(request, own, true),
            false => {
                self.before.unknown += before;
                self.begin(request, own);
            }
        }
    }

    /// Begins to count at this answer.
    fn begin(&mut self, request: u64, own: u64) {
        self.last_request = self.last_request.max(request);
        self.answers = own + 1;
        self.seen = VecDeque::from([true]);
        self.without = self.without.split_off(&self.last_request);
        self.without_number = 0;
    }

    /// An answer behind all others, with `missing` between them.
    fn advance(&mut self, request: u64, missing: u64, is_first: bool) {
        self.open_answers += missing;
        self.answers += missing + 1;
        for place in (0..=missing.min(WINDOW)).rev() {
            self.seen.push_back(place == 0);
        }
        let over = self.seen.len().saturating_sub(WINDOW as usize);
        self.seen.drain(..over);
        if request > self.last_request {
            let unanswered = self.sent_between(self.last_request, request);
            self.open_requests += unanswered;
            if unanswered > 0 {
                self.gaps.push_back(Gap {
                    requests: (self.last_request + 1, request),
                    unanswered,
                    answers: missing,
                });
                let over = self.gaps.len().saturating_sub(GAPS);
                self.gaps.drain(..over);
            }
            self.last_request = request;
        } else if is_first {
            self.close_request(request, false);
        }
    }

    /// An answer that others have overtaken, or the first one of a new count. `behind` is 1
    /// for the latest answer's own number.
    fn behind(&mut self, request: u64, behind: u64, own: u32, is_first: bool) {
        let place = usize::try_from(behind).ok();
        let place = place.and_then(|behind| self.seen.len().checked_sub(behind));
        match place.map(|place| std::mem::replace(&mut self.seen[place], true)) {
            Some(false) => {
                self.open_answers = self.open_answers.saturating_sub(1);
                if is_first {
                    self.close_request(request, true);
                }
            }
            // A copy of an answer.
            _ if !is_first => {}
            _ => self.restart(request, own, is_first),
        }
    }

    /// A request has an answer after all.
    fn close_request(&mut self, request: u64, also_its_answer: bool) {
        if request > self.last_request {
            // Its answer has a lower number than those of earlier requests: it overtook them.
            self.open_requests += self.sent_between(self.last_request, request);
            self.last_request = request;
            return;
        }
        self.open_requests = self.open_requests.saturating_sub(1);
        let holds = |gap: &&mut Gap| gap.requests.0 <= request && request < gap.requests.1;
        if let Some(gap) = self.gaps.iter_mut().rev().find(holds) {
            gap.unanswered = gap.unanswered.saturating_sub(1);
            let answers = gap.answers.saturating_sub(u64::from(also_its_answer));
            gap.answers = answers;
        }
    }

    /// The reflector has forgotten the session and counts from 0, or is not to be understood.
    fn restart(&mut self, request: u64, own: u32, is_first: bool) {
        if !is_first {
            return;
        }
        self.restarts += 1;
        let beside = self.uncounted_below(self.last_request);
        let lost = self.of_present(self.open_requests.saturating_sub(beside), beside);
        self.before.to_server += lost.to_server;
        self.before.to_client += lost.to_client;
        let between = match request > self.last_request {
            true => self.sent_between(self.last_request, request),
            false => 0,
        };
        let answers = Some(u64::from(own)).filter(|&own| own <= between);
        let answers = answers.unwrap_or(0);
        let beside = self.uncounted_below(request).saturating_sub(beside);
        self.before.to_client += answers.saturating_sub(beside);
        self.before.unknown += between - answers;
        (self.open_requests, self.open_answers) = (0, 0);
        self.gaps.clear();
        self.uncounted = self.uncounted.split_off(&request.max(self.last_request));
        self.begin(request, u64::from(own));
    }

    /// How many requests with numbers between these two were sent, and not answered by another.
    fn sent_between(&mut self, after: u64, before: u64) -> u64 {
        let all = before.saturating_sub(after + 1);
        if all == 0 {
            return 0;
        }
        let without = self.without.range((Excluded(after), Excluded(before)));
        let without = without.count() as u64 + self.without_number;
        let sent = all.saturating_sub(without);
        self.without = self.without.split_off(&before);
        self.without_number = 0;
        sent
    }

    /// How many below this number were sent beside the count, and have no answer.
    fn uncounted_below(&self, number: u64) -> u64 {
        self.uncounted.range(..number).count() as u64
    }

    /// The losses so far, of `lost` requests that have no answer and won't get one. `awaited`
    /// are those before the last answered one that may still get one. `None` where the
    /// reflector has no count of its own, or nothing has come.
    pub fn lost(&self, lost: u64, awaited: u64) -> Option<LostByWay> {
        if !self.is_stateful {
            return None;
        }
        // Behind the last answered one they are in neither of the two counts.
        let open = awaited + self.uncounted_below(self.last_request);
        let known = self.before.to_server + self.before.to_client;
        let left = lost.saturating_sub(known);
        let before = self.open_requests.saturating_sub(open).min(left);
        let present = self.of_present(before, open);
        let to_server = self.before.to_server + present.to_server;
        let to_client = self.before.to_client + present.to_client;
        Some(LostByWay {
            to_server,
            to_client,
            unknown: lost.saturating_sub(to_server + to_client),
        })
    }

    /// Divides requests without an answer, in the present count. Of the missing answers, `open`
    /// may be those of requests that are not lost.
    fn of_present(&self, lost: u64, open: u64) -> LostByWay {
        let most = self.open_answers.min(lost);
        let least = self.open_answers.saturating_sub(open).min(lost);
        LostByWay {
            to_server: lost - most,
            to_client: least,
            unknown: most - least,
        }
    }

    /// The direction in which the request of this number was lost, where that is known of it
    /// alone.
    pub fn way_of(&self, request: u64) -> Option<Way> {
        let holds = |gap: &&Gap| gap.requests.0 <= request && request < gap.requests.1;
        let gap = self.gaps.iter().rev().find(holds)?;
        match (self.is_stateful, gap.answers) {
            (false, _) => None,
            (true, 0) => Some(Way::ToServer),
            (true, answers) => (answers >= gap.unanswered).then_some(Way::ToClient),
        }
    }
}

#[cfg(test)]
mod tests;
