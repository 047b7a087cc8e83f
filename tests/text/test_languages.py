import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.text.languages import is_english, language_code


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "Stars twinkle softly over sleeping mountains"),
        ("en", "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG"),
        ("es", "El gato duerme en la mesa y no quiere comer."),
        ("pt", "O gato dorme na mesa e não quer comer o peixe."),
        ("fr", "Le chat dort sur la table et ne veut pas manger."),
        ("de", "Die Katze schläft auf dem Tisch und will nicht essen."),
        ("it", "Il gatto dorme sul tavolo e non vuole mangiare il pesce."),
        ("pl", "Kot śpi na stole i nie chce się obudzić."),
        ("fi", "Kissa nukkuu pöydällä ja ei halua syödä kalaa."),
        ("sw", "Paka analala juu ya meza na hataki kula samaki huyo."),
        ("vi", "Con mèo ngủ trên bàn và không muốn ăn cá."),
        ("id", "Kucing itu tidur di atas meja dan tidak mau makan ikan."),
        ("ru", "Кот спит на столе и не хочет есть рыбу, потому что он сыт."),
        ("uk", "Кіт спить на столі і не хоче їсти рибу."),
        ("bg", "Котката спи на масата и не иска да яде риба, защото е сита."),
        ("ar", "تنام القطة على الطاولة ولا تريد أن تأكل السمك."),
        ("fa", "گربه روی میز می‌خوابد و نمی‌خواهد ماهی بخورد."),
        ("ur", "بلی میز پر سوتی ہے اور مچھلی نہیں کھانا چاہتی۔"),
        ("hi", "बिल्ली मेज़ पर सोती है और मछली नहीं खाना चाहती।"),
        ("mr", "मांजर टेबलावर झोपते आणि तिला मासे खायचे नाहीत."),
        ("ne", "बिरालो टेबुलमा सुत्छ र माछा खान चाहँदैन, यो राम्रो छ।"),
        ("bn", "বিড়াল টেবিলে ঘুমায়।"),
        ("pa", "ਬਿੱਲੀ ਮੇਜ਼ ਤੇ ਸੌਂਦੀ ਹੈ।"),
        ("gu", "બિલાડી ટેબલ પર સૂવે છે."),
        ("ta", "பூனை மேசையில் தூங்குகிறது."),
        ("te", "పిల్లి బల్ల మీద నిద్రపోతుంది."),
        ("kn", "ಬೆಕ್ಕು ಮೇಜಿನ ಮೇಲೆ ಮಲಗುತ್ತದೆ."),
        ("th", "แมวนอนบนโต๊ะ"),
        ("ko", "고양이가 탁자 위에서 잔다."),
        ("he", "החתול ישן על השולחן."),
        ("ja", "猫が机の上で寝ている。"),
        ("zh", "貓在桌子上睡覺。"),
        ("th", "แมวนอนบนโต๊ะและไม่อยากกินปลา (see https://example.org/a-long-english-address)"),
        (None, "12 + 30 = 42 :-)"),
        (None, ""),
    ],
)
def test_the_language_is_named(code: str | None, text: str) -> None:
    assert language_code(text) == code


def test_latin_letters_count_nothing_beside_twice_as_many_others() -> None:
    assert language_code("The cat. " + "貓" * 20) == "zh"
    assert language_code("The cat is on the table. " + "貓" * 10) == "en"


def test_a_text_of_too_few_words_is_not_called_english() -> None:
    assert is_english("the end", 2)
    assert not is_english("the end", 3)


@given(st.text())
def test_any_text_has_a_language_or_none(text: str) -> None:
    code = language_code(text)
    assert code is None or len(code) == 2
