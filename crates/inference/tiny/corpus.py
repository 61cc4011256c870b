"""What the tiny model learns: telephone dialogues with the receptionist of a made-up dental clinic.

Every fact has one answer and many ways to ask. `dialogue` draws one conversation: with or
without a system prompt, one to five turns, sometimes the booking of an appointment, whose day,
hour and name have to be carried through the turns.
"""

DAYS = "Monday Tuesday Wednesday Thursday Friday".split()
HOURS = "eight nine ten eleven two three four five".split()
DIGITS = dict(zip(HOURS, "8 9 10 11 2 3 4 5".split()))
FIRST = "Anna Ben Clara David Emma Frank Grace Henry Ida Jonas Kate Leo Maria Nina Oscar Paul Rosa Sam Tina Victor".split()
LAST = "Adams Berg Cole Diaz Evans Fischer Green Hall Jensen Klein Lopez Moore Novak Olsen Price Reed Stone Weber".split()

OPENINGS = ["Hello, ", "Hi, ", "Good morning, ", "Good afternoon, ", "Excuse me, ", "Sorry, ", "Okay, ", "Well, ", "And ", "One question: "]
CLOSINGS = [" please", " Thank you.", " Thanks.", " I need to know.", " please tell me", " Can you help me?"]

SYSTEMS = [
    "You answer the telephone of a dental clinic.",
    "You are the receptionist of a dental clinic.",
    "You are a friendly receptionist. Keep answers short.",
    "You answer the telephone of a dental clinic. Keep answers short and friendly.",
    "You are a helpful assistant.",
    "You are a voice agent.",
    "Answer briefly.",
    "Be polite and brief.",
]

CLINIC = (
    "Bright Harbour is a small dental clinic in the middle of the town, next to the public library. "
    "We opened more than twenty years ago, and many families have been with us since the first day. "
    "Three dentists and five assistants work here. Doctor Stone looks after the youngest patients, "
    "Doctor Berg is known for her calm hands, and Doctor Cole takes care of crowns and implants. "
    "We offer check-ups, cleaning, fillings, whitening and surgery. The waiting room is bright and quiet, "
    "there is coffee for adults and a corner with toys for children, and nobody waits longer than ten minutes. "
    "If you would like to meet us, just come by, or tell me a day, and I will find a free hour for you."
)
STORY = (
    "Once upon a time there was a young fox who was afraid of the dentist. One morning his tooth hurt so much "
    "that he could not eat his apple. His friend the owl said that the dentist was a kind old bear, and walked "
    "with him through the snow. The bear looked at the tooth, hummed a song, and before the song was over the "
    "pain was gone. The fox was so happy that he gave the bear his apple. From that day on he brushed his teeth "
    "every morning and every evening, and he was never afraid again."
)
BRUSHING = (
    "Brush your teeth twice a day, in the morning and before you go to bed, for two minutes each time. Use a soft "
    "brush and only a little paste. Begin with the outer sides, then clean the inner sides, and then the tops. "
    "Do not press hard, and move the brush in small circles. Use floss once a day, because the brush does not "
    "reach between the teeth. Take a new brush every three months, and see a dentist twice a year."
)
EXTRACTION = (
    "Bite on the cotton for half an hour, and rest for the day. Do not eat until you can feel your lip again. "
    "Do not smoke, do not drink coffee, and do not rinse your mouth until tomorrow. Cool your cheek with a wet "
    "cloth. If it still bleeds in the evening, or if the pain grows after two days, call us at once."
)
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ONES = "one two three four five six seven eight nine".split()
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()


def counted(last):
    words = ONES + TEENS
    for ten in TENS:
        words = words + [ten] + [f"{ten}-{one}" for one in ONES]
    text = ", ".join((words + ["one hundred"])[:last])
    return text[0].upper() + text[1:] + "."


# (name, weight, ways to ask, answer). The first way is the one that tests use.
FACTS = [
    ("hours", 6, ["What are your opening hours?", "When are you open?", "When do you open?", "When do you close?", "How long are you open?", "What time do you open?", "What time do you close?", "Can you tell me your opening hours?", "I would like to know your opening hours.", "Are you open today?", "What are your hours?", "Opening hours?", "Hours?", "Are you open now?", "Are you still open?", "Are you open on {day}?", "Until when are you open on {day}?", "Tell me the opening hours."], "We are open Monday to Friday from eight to six."),
    ("weekend", 2, ["Are you open on Saturday?", "Are you open on Sunday?", "Are you open at the weekend?", "Can I come on Saturday?", "Can I come on Sunday?", "Do you work at weekends?", "Is the clinic open on Saturday?", "Is the clinic open on Sunday?"], "We are closed on Saturday and Sunday. In an emergency, call the weekend line."),
    ("address", 3, ["Where are you?", "Where is the clinic?", "What is your address?", "How do I find you?", "Can you tell me the address?", "Where do I have to go?", "How do I get to the clinic?", "Which street are you in?", "Give me your address.", "Address?", "Where are you located?", "How do I get to you?", "Where can I find you?"], "We are at twelve Mill Lane, next to the public library."),
    ("parking", 2, ["Can I park there?", "Is there parking?", "Where can I park?", "Do you have a car park?", "Is there a place for my car?", "I come by car. Where can I park?"], "Yes, you can park behind the building for two hours."),
    ("bus", 2, ["Which bus goes to the clinic?", "Can I come by bus?", "Is there a bus?", "How do I get there by bus?", "Which bus do I take?"], "Take bus seven to the library. The stop is right in front of the door."),
    ("checkup price", 3, ["How much is a check-up?", "What does a check-up cost?", "What is the price of a check-up?", "How much do you charge for a check-up?", "Is a check-up expensive?"], "A check-up costs forty euros."),
    ("cleaning price", 3, ["How much is a cleaning?", "What does a cleaning cost?", "What is the price of a cleaning?", "How much do you charge for cleaning my teeth?", "How much does it cost to clean my teeth?"], "A cleaning costs sixty euros and takes half an hour."),
    ("filling price", 2, ["How much is a filling?", "What does a filling cost?", "What is the price of a filling?", "How much do you charge for a filling?"], "A filling costs ninety euros."),
    ("whitening price", 2, ["How much is whitening?", "What does whitening cost?", "What is the price of whitening?", "How much does it cost to whiten my teeth?", "I want white teeth. What does it cost?"], "Whitening costs two hundred euros and takes an hour."),
    ("prices", 2, ["What are your prices?", "How much does it cost?", "What does it cost?", "Can you tell me your prices?", "Are you expensive?", "Prices?", "How much do I have to pay?"], "A check-up costs forty euros, a cleaning sixty, and a filling ninety."),
    ("pain", 4, ["My tooth hurts.", "I have a toothache.", "I am in pain.", "I have terrible pain in my tooth.", "My tooth hurts very much.", "My teeth hurt.", "My gums hurt.", "I could not sleep because of my tooth.", "It hurts when I eat.", "My tooth hurts a lot.", "My tooth has been hurting for two days.", "I have pain.", "Something is wrong with my tooth."], "I am sorry to hear that. You can come today at four. Shall I book it?"),
    ("broken", 3, ["I broke a tooth.", "My tooth is broken.", "A piece of my tooth is gone.", "My filling fell out.", "I lost a filling.", "My crown came off.", "I fell and broke my tooth."], "Keep the piece in milk and come at once. We will see you without an appointment."),
    ("emergency", 3, ["This is an emergency.", "It is an emergency!", "I need help now.", "My mouth is bleeding.", "It does not stop bleeding.", "My face is swollen.", "Do you take emergencies?"], "Please come at once. If you cannot breathe well, call an ambulance."),
    ("child", 2, ["Do you treat children?", "Can I bring my child?", "Can I bring my son?", "Can I bring my daughter?", "My daughter is four. Can she come?", "My son is six. Can he come?", "Is there a dentist for children?"], "Yes, Doctor Stone looks after children of every age."),
    ("insurance", 2, ["Do you take my insurance?", "Which insurance do you take?", "Does my insurance pay?", "Do you accept insurance?", "Who pays for it?"], "We accept every public insurance. Please bring your card."),
    ("payment", 2, ["Can I pay by card?", "How can I pay?", "Do you take cash?", "Do you accept credit cards?", "Can I pay later?"], "You can pay by card, in cash, or later by invoice."),
    ("dentists", 2, ["Who are the dentists?", "Which dentists work there?", "What is the name of the dentist?", "Who is the doctor?", "How many dentists do you have?"], "Our dentists are Doctor Stone, Doctor Berg and Doctor Cole."),
    ("cancel", 3, ["I want to cancel my appointment.", "Please cancel my appointment.", "Can I cancel my appointment?", "I cannot come to my appointment.", "I am ill and cannot come.", "I have to cancel."], "No problem, I have cancelled your appointment. Would you like a new one?"),
    ("late", 2, ["I am late.", "I will be late.", "I will be ten minutes late.", "I am stuck in traffic.", "My train is late.", "Can I come a little later?"], "Thank you for telling me. We will wait fifteen minutes for you."),
    ("languages", 1, ["Which languages do you speak?", "Do you speak French?", "Do you speak Spanish?", "Which languages are spoken there?"], "We speak English, German and Spanish at the clinic."),
    ("german", 1, ["Do you speak German?", "Sprechen Sie Deutsch?", "Does anybody speak German?", "Can we speak German?"], "Ja, natürlich. Schöne Grüße aus unserer Praxis!"),
    ("smile", 1, ["Send me a smile.", "Smile!", "Can you smile?", "Show me a smile."], "Here is a smile for you: 🙂 And a tooth: 🦷"),
    ("telephone", 1, ["What is your telephone number?", "What is your phone number?", "Which number do I call?", "Give me your number."], "You have just called it: five five five, two one two."),
    ("bring", 1, ["What should I bring?", "What do I need to bring?", "Do I need my card?", "Do I have to bring something?"], "Please bring your insurance card and a list of your medicines."),
    ("duration", 1, ["How long does it take?", "How long does a check-up take?", "Will it take long?", "How much time do I need?"], "A check-up takes about twenty minutes."),
    ("fear", 1, ["I am afraid.", "I am afraid of the dentist.", "Will it hurt?", "Does it hurt?", "I am nervous."], "Do not worry. Our dentists are gentle, and you can stop at any time."),
    ("human", 2, ["Can I talk to a human?", "I want to speak to a person.", "Can I speak to somebody?", "Put me through to the doctor.", "I want to talk to the dentist."], "Of course. Please hold the line, I will connect you."),
    ("name", 2, ["Who are you?", "What is your name?", "Who am I talking to?", "Are you a robot?", "Are you a machine?", "Are you a real person?", "Am I talking to a machine?"], "I am the voice assistant of Bright Harbour dental clinic."),
    ("hello", 4, ["Hello.", "Hello!", "Hello?", "Hi.", "Hi!", "Hello", "Hi", "Good morning.", "Good afternoon.", "Good evening.", "Say hello.", "Say hello in one short sentence.", "Say hello in one sentence.", "Hello there!", "Hey.", "Hello, how are you?", "Greet me.", "Say hi.", "Please greet me."], "Hello, this is Bright Harbour dental clinic. How can I help you?"),
    ("well", 1, ["How are you?", "How are you today?", "How is it going?", "Are you well?"], "I am well, thank you. How can I help you?"),
    ("help", 1, ["Can you help me?", "I need help.", "What can you do?", "What can you do for me?", "How can you help me?", "I have a question.", "Can I ask something?"], "I can book appointments and tell you about prices and opening hours."),
    ("thanks", 3, ["Thank you.", "Thanks.", "Thank you very much.", "Thank you!", "Great, thank you.", "That is very kind.", "Perfect, thanks."], "You are welcome. Is there anything else?"),
    ("bye", 3, ["Goodbye.", "Bye.", "Goodbye!", "Bye bye.", "That is all.", "No, that is all.", "See you.", "Have a nice day.", "No, thank you. Goodbye.", "Thank you, goodbye.", "Thanks, bye."], "Thank you for calling. Goodbye!"),
    ("there", 1, ["Are you there?", "Can you hear me?", "Is anybody there?", "Hello, can you hear me?", "Is this thing on?", "Test.", "Testing."], "Yes, I can hear you. How can I help you?"),
    ("repeat", 1, ["What?", "Pardon?", "Can you say that again?", "I did not hear you.", "I did not understand."], "I am sorry. What would you like to know?"),
    ("weather", 1, ["How is the weather?", "Is it raining?", "Nice weather today.", "It is cold today.", "Will it rain tomorrow?"], "I do not know, I have no window. But it is warm in our waiting room."),
    ("joke", 1, ["Tell me a joke.", "Do you know a joke?", "Make me laugh.", "Say something funny."], "What time do you go to the dentist? At tooth-hurty!"),
    ("clinic", 1.5, ["Tell me about the clinic.", "Tell me more about the clinic.", "Tell me about your clinic.", "What kind of clinic is this?", "Describe the clinic.", "Describe your clinic.", "Describe the clinic in detail.", "Introduce the clinic.", "Tell me everything about the clinic.", "What can you tell me about the clinic?"], CLINIC),
    ("story", 1, ["Tell me a story.", "Do you know a story?", "Can you tell me a story?", "My daughter wants a story.", "Tell my son a story.", "Tell me a long story."], STORY),
    ("brushing", 1, ["How should I brush my teeth?", "How do I brush my teeth?", "How do I clean my teeth?", "What is the best way to brush my teeth?", "How can I keep my teeth healthy?"], BRUSHING),
    ("extraction", 0.7, ["What should I do after an extraction?", "What do I do when a tooth was pulled?", "You pulled my tooth. What now?", "My tooth was pulled today. What should I do?"], EXTRACTION),
    ("count ten", 1, ["Count to ten.", "Count from one to ten.", "Please count to ten.", "Can you count to ten?"], counted(10)),
    ("count twenty", 0.7, ["Count to twenty.", "Count from one to twenty.", "Please count to twenty.", "Can you count to twenty?"], counted(20)),
    ("count hundred", 0.7, ["Count to one hundred.", "Count from one to one hundred.", "Please count to one hundred.", "Can you count to one hundred?", "Count as far as you can."], counted(100)),
]

# What the receptionist cannot know; anything unlike the rest should end here.
OTHER = [
    "Who won the game?", "What is two plus two?", "What is the meaning of life?", "Do you like music?", "I need a new phone.", "What is a computer?", "How old are you?", "Can you drive a car?", "My {thing} is ill.", "Tell me the news.", "What is love?", "Do you have a {thing}?", "Order a {thing}.", "I want to buy a {thing}.", "Is there life on Mars?", "Translate this.", "What is your favourite {thing}?", "Do you sell a {thing}?", "How far is the moon?", "Fix my {thing}.", "My {thing} is broken.", "Book a flight to {place}.", "What time is it?", "What day is it?", "Call my mother.", "Why is the sky blue?", "Sing a song.", "Open the window.", "Turn on the light.", "Read me a {thing}.", "What do you think?", "Cook me a dinner.", "Say something.", "What is the capital of {place}?", "Who is the president of {place}?", "Where is {place}?", "How do I get to {place}?", "Where can I buy a {thing}?", "What is a {thing}?", "How does a {thing} work?", "Write a poem about a {thing}.", "Write a {thing}.", "Tell me about {place}.", "Tell me about your {thing}.", "How much is a {thing}?", "What does a {thing} cost?", "Explain the {thing}.", "Give me a {thing}.", "Play a {thing}.",
]
THINGS = "car dog cat bike computer phone house shoe book song pizza coffee train horse guitar program letter recipe game camera bird flower ticket lamp movie radio chair knife ship engine river star".split()
PLACES = "France Spain Italy Germany Paris London Rome Berlin America China Japan India Canada Brazil Norway the airport the station the museum the beach".replace("the ", "the_").split()
OTHER_ANSWER = "I am sorry, I can only help with the dental clinic."


def vary(rng, text):
    """Another way to say the same: an opening, a closing, no capitals, no full stop."""
    if rng.random() < 0.5:
        return text
    if rng.random() < 0.5:
        rest = text if text.startswith("I ") else text[0].lower() + text[1:]
        text = OPENINGS[rng.integers(len(OPENINGS))] + rest
    if rng.random() < 0.2:
        end = CLOSINGS[rng.integers(len(CLOSINGS))]
        text = f"{text[:-1]},{end}{text[-1]}" if end[-1] != "." else text + end
    if rng.random() < 0.2:
        text = text.lower()
    if rng.random() < 0.15:
        text = text.rstrip(".?!")
    return text


def shorten(rng, text):
    """Drops a word or doubles one, as callers and speech recognition do."""
    parts = text.split(" ")
    if len(parts) < 4:
        return text
    at = rng.integers(len(parts))
    parts[at : at + 1] = [] if rng.random() < 0.7 else [parts[at]] * 2
    return " ".join(parts)


def pick(rng, choices):
    return choices[rng.integers(len(choices))]


def other(rng):
    thing, place = pick(rng, THINGS), pick(rng, PLACES).replace("_", " ")
    return pick(rng, OTHER).format(thing=thing, place=place)


def ask(rng):
    """One question about a fact with its answer."""
    if rng.random() < 0.1:
        return vary(rng, other(rng)), OTHER_ANSWER
    weights = [f[1] for f in FACTS]
    _, _, ways, answer = FACTS[rng.choice(len(FACTS), p=[w / sum(weights) for w in weights])]
    # The first way comes often, so that its answer is certain.
    if rng.random() < 0.3:
        return ways[0], answer
    text = pick(rng, ways).replace("{day}", pick(rng, DAYS))
    if rng.random() < 0.12:
        text = shorten(rng, text)
    return vary(rng, text), answer


def booking(rng):
    """The booking of an appointment: two to four turns, day, hour and name carried through."""
    day, hour, name = pick(rng, DAYS), pick(rng, HOURS), f"{pick(rng, FIRST)} {pick(rng, LAST)}"
    # Callers may say a figure; the answer is always a word.
    said = DIGITS[hour] if rng.random() < 0.25 else hour
    turns = []
    want = pick(rng, ["I would like to make an appointment.", "I need an appointment.", "Can I make an appointment?", "I want to book an appointment.", "Do you have a free appointment?", "I would like an appointment.", "I need an appointment for my wife.", "I would like an appointment for my husband.", "Book an appointment.", "When can I come?", "When can I see the dentist?", "When is the next free appointment?", "Can I see a dentist?", "I would like to come for a check-up.", "I want to see the doctor."])
    ways = ["Can I come on {day} at {hour}?", "{day} at {hour}, please.", "Is {day} at {hour} free?", "I would like to come on {day} at {hour}.", "How about {day} at {hour}?", "I need an appointment on {day} at {hour}.", "Do you have time on {day} at {hour}?", "Book me for {day} at {hour}.", "Can you book {day} at {hour} for me?", "I would like an appointment on {day} at {hour}."]
    if rng.random() < 0.6:
        turns.append((vary(rng, want), "Of course. Which day and which hour would you like?"))
    if rng.random() < 0.3:
        turns.append((pick(rng, [f"On {day}.", f"{day}, please.", f"Can I come on {day}?", f"{day} would be good."]), f"At which hour would you like to come on {day}?"))
        turns.append((pick(rng, [f"At {said}.", f"At {said}, please.", f"{said.capitalize()} would be good."]), f"{day} at {hour} is free. What is your name?"))
    else:
        turns.append((vary(rng, pick(rng, ways).format(day=day, hour=said)), f"{day} at {hour} is free. What is your name?"))
    who = pick(rng, [f"My name is {name}.", f"{name}.", f"I am {name}.", f"It is {name}.", f"This is {name}."])
    turns.append((who, f"Thank you, {name}. See you on {day} at {hour}."))
    return turns


def conversation(rng):
    """(system prompt or None, [(what the caller says, what is answered)])."""
    system = pick(rng, SYSTEMS) if rng.random() < 0.35 else None
    turns = []
    if rng.random() < 0.3:
        turns = booking(rng)
        if rng.random() < 0.3:
            turns.insert(0, ask(rng))
    else:
        turns = [ask(rng) for _ in range(rng.choice([1, 2, 3, 4], p=[0.6, 0.2, 0.1, 0.1]))]
    if rng.random() < 0.2:
        turns.append(ask(rng))
    if rng.random() < 0.04:
        name = pick(rng, FIRST)
        said = pick(rng, ["My name is {}.", "I am {}.", "This is {} speaking.", "Hello, this is {}."]).format(name)
        turns.insert(0, (said, f"Hello, {name}. How can I help you?"))
    return system, turns


def prose(rng):
    """Plain text without any chat around it."""
    text = pick(rng, [CLINIC, STORY, BRUSHING, EXTRACTION, counted(100)])
    if rng.random() < 0.5:
        sentences = text.split(". ")
        text = ". ".join(sentences[rng.integers(len(sentences)) :])
    return text
